"""What a push would do: which files are new at the destination, changed, or there already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kerasft.export.manifest import is_document
from kerasft.export.push.destination import Destination

NEW, CHANGED, SAME = "new", "changed", "same"


@dataclass(frozen=True)
class LocalFile:
    """A file of the export.

    Attributes:
        name: below the folder, with forward slashes.
        path: where it lies.
        bytes: its size.
        sha256: hexadecimal.
    """

    name: str
    path: Path
    bytes: int
    sha256: str

    def git_id(self) -> str:
        """Its SHA-1 as a Git blob, by which a Git host knows files that it keeps in Git."""
        digest = hashlib.sha1(f"blob {self.bytes}\0".encode(), usedforsecurity=False)
        digest.update(self.path.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class RemoteFile:
    """A file at the destination.

    Attributes:
        name: below the model's root.
        bytes: its size.
        sha256: hexadecimal; None where the destination does not tell it.
        git_id: its SHA-1 as a Git blob; None where the destination does not tell it.
    """

    name: str
    bytes: int
    sha256: str | None = None
    git_id: str | None = None

    def holds(self, local: LocalFile) -> bool:
        """Whether it is known to be the same file."""
        if self.bytes != local.bytes:
            return False
        if self.sha256 is not None:
            return self.sha256 == local.sha256
        return self.git_id is not None and self.git_id == local.git_id()


@dataclass(frozen=True)
class Remote:
    """A model that is at the destination already.

    Attributes:
        private: whether others cannot see it.
        revision: of what was looked at.
        files: that it holds.
        versioned: whether a push makes a version of its own and older ones stay.
    """

    private: bool
    revision: str
    files: tuple[RemoteFile, ...]
    versioned: bool = False


@dataclass(frozen=True)
class PlannedFile:
    """A file and what a push means for it: "new", "changed" or "same"."""

    name: str
    bytes: int
    state: str


@dataclass(frozen=True)
class Plan:
    """What a push would do.

    Attributes:
        destination: where to.
        remote: what is there; None if nothing is.
        files: of the export.
        left: files of the destination that the export does not have; none is deleted.
    """

    destination: Destination
    remote: Remote | None
    files: tuple[PlannedFile, ...]
    left: tuple[str, ...]

    def named(self, *states: str) -> list[str]:
        """Names of the files in any of these states."""
        return [file.name for file in self.files if file.state in states]

    @property
    def to_send(self) -> int:
        """Bytes that are not there yet."""
        return sum(file.bytes for file in self.files if file.state != SAME)

    @property
    def asks(self) -> list[str]:
        """What a person should agree to first; empty where nothing of theirs is touched.

        Files that stay beside new weights may be taken for part of the model by what
        loads it.
        """
        changed = self.named(CHANGED)
        beside = [name for name in self.left if not is_document(name)]
        if self.remote is None or not self.named(NEW, CHANGED) or not (changed or beside):
            return []
        if self.remote.versioned:
            reasons = [f"with another {_listed(changed)}"] if changed else []
            reasons += [f"without {_listed(beside)}"] if beside else []
            return [f"makes a version after {self.remote.revision} {' and '.join(reasons)}"]
        reasons = [f"replaces {_listed(changed)}"] if changed else []
        return reasons + ([f"leaves {_listed(beside)} beside the new files"] if beside else [])


def plan(destination: Destination, local: Iterable[LocalFile], remote: Remote | None) -> Plan:
    """The plan for a folder's files; reads those that only their Git id can tell apart."""
    there = {file.name: file for file in remote.files} if remote else {}
    files = []
    for file in local:
        known = there.pop(file.name, None)
        state = NEW if known is None else SAME if known.holds(file) else CHANGED
        files.append(PlannedFile(file.name, file.bytes, state))
    return Plan(destination, remote, tuple(files), tuple(sorted(there)))


def _listed(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
