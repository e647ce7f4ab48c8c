"""Only what was verified is pushed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kerasft.errors import ExportError, collected
from kerasft.export.card_licences import Licence, licence_by_tag
from kerasft.export.manifest import VERIFICATION, changes, files_of, sha256
from kerasft.export.push.plan import LocalFile
from kerasft.records import read_json

_AGAIN = "Verify it again: kerasft export RUN --verify {folder}"
_LICENCE = re.compile(r"^license: *\"?([\w.-]+)\"?\s*$", re.MULTILINE)


def verified_files(folder: Path) -> list[LocalFile]:
    """The files of an export whose proof passed and which are still what was proved.

    Raises:
        ExportError: there is no proof, it did not pass, or a file has changed since.
        RunError: `verification.json` is damaged.
    """
    proof = folder / VERIFICATION
    again = _AGAIN.format(folder=folder)
    if not proof.is_file():
        raise ExportError(f"{folder} has no {VERIFICATION}, so it is not pushed. {again}")
    found = read_json(proof)
    status, listed = found.get("status"), found.get("files")
    if status != "passed":
        raise ExportError(
            f"{folder} is not pushed: its verification says {str(status).replace('_', ' ')!r}, "
            f"not 'passed'. {again}"
        )
    if not _lists_files(listed):
        raise ExportError(
            f"{folder} is not pushed: its {VERIFICATION} does not say which files were verified. "
            f"{again}"
        )
    faults = changes(folder, listed)
    if faults:
        raise ExportError(f"{collected(f'{folder} is not what was verified', faults)}\n{again}")
    return [
        LocalFile(
            name,
            path,
            path.stat().st_size,
            listed[name]["sha256"] if name in listed else sha256(path),
        )
        for name, path in files_of(folder)
    ]


def _lists_files(listed: Any) -> bool:
    """Whether it is a manifest: for each file its bytes and SHA-256."""
    return (
        isinstance(listed, dict)
        and bool(listed)
        and all(
            isinstance(entry, dict)
            and isinstance(entry.get("bytes"), int)
            and isinstance(entry.get("sha256"), str)
            for entry in listed.values()
        )
    )


def licence_of_card(folder: Path) -> Licence | None:
    """The base's licence as the folder's card names it; None where it names none we know."""
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    front = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = _LICENCE.search(front)
    return licence_by_tag(found[1]) if found else None
