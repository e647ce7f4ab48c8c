"""What an export consists of: the bytes and SHA-256 of each file that a proof was made of.

`verification.json` holds this, so that a later command knows whether the files are still
those that were proved. Cards and licences are left out: people edit and add them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

VERIFICATION = "verification.json"
_DOCUMENTS = re.compile(
    r"(README\.md|NOTICE(\.\w+)?|LICEN[CS]E(\.\w+)?|USE_POLICY(\.\w+)?|\.gitattributes)",
    re.IGNORECASE,
)
_BLOCK = 1 << 22


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Name in the folder → {"bytes", "sha256"} of every file that a proof is about.

    Reads each file once, in blocks.
    """
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for name, path in files_of(folder)
        if name != VERIFICATION and not is_document(name)
    }


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name with forward slashes, path) of every file in a folder, sorted.

    Files and folders whose names begin with a dot are left out, but for `.gitattributes`.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/")) and not is_document(name)
        if path.is_file() and not hidden:
            yield name, path


def is_document(name: str) -> bool:
    """Whether a file is a card, a notice or a licence, which no proof is about."""
    return _DOCUMENTS.fullmatch(name) is not None


def changes(folder: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every way in which a folder's files are no longer those of a manifest.

    Sizes are compared before anything is read.
    """
    there = {
        name: path
        for name, path in files_of(folder)
        if name != VERIFICATION and not is_document(name)
    }
    faults = [f"{name} is missing" for name in sorted(listed.keys() - there.keys())]
    faults += [
        f"{name} was added after the verification" for name in sorted(there.keys() - listed.keys())
    ]
    for name in sorted(listed.keys() & there.keys()):
        known = listed[name]
        if there[name].stat().st_size != known["bytes"] or sha256(there[name]) != known["sha256"]:
            faults.append(f"{name} has changed since the verification")
    return faults


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
