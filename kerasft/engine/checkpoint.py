"""Checkpoints: complete and verified, or ignored.

A checkpoint is a folder `step-000100` with `state.safetensors` (A, B, the optimizer's
variables and the seed states), `state.json` (where in the data, the best validation so
far) and `manifest.json` (size and SHA-256 of the other two), which is written last. The
folder is written under another name, flushed to the disk and renamed; an older one goes
only after the new one has been read back.

A step that is saved a second time takes the place of the first by two renames. A kill
between them leaves the first under its other name, and `recover` puts it back.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import RunError
from kerasft.records import flush

SCHEMA_VERSION = 2
_TENSORS = "state.safetensors"
_STATE = "state.json"
_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        path: its folder.
        step: optimizer steps done.
        tensors: by name, as they were given to `save`.
        state: the rest, as it was given to `save`.
    """

    path: Path
    step: int
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    *,
    keep: int,
) -> Path:
    """Write a checkpoint, read it back, then drop the oldest ones.

    Folders of later steps go too: they are of a past that the run was set back from, and
    would be taken for the newest.

    Args:
        folder: the run's `checkpoints/`.
        step: optimizer steps done.
        tensors: anything that safetensors holds.
        state: JSON values.
        keep: complete checkpoints that stay.

    Raises:
        RunError: it cannot be written, or reads back differently; the older ones stay.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = folder / f"step-{step:06d}"
    aside, former = folder / f".{path.name}.tmp", folder / f".{path.name}.old"
    try:
        recover(folder)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        # `ascontiguousarray` would make the optimizer's scalar count a vector.
        arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
        save_file(arrays, aside / _TENSORS)
        (aside / _STATE).write_text(json.dumps(dict(state)), "utf-8")
        files = {name: _facts(aside / name) for name in (_TENSORS, _STATE)}
        manifest = {"schema_version": SCHEMA_VERSION, "step": step, "files": files}
        (aside / _MANIFEST).write_text(json.dumps(manifest, indent=2), "utf-8")
        for name in (_TENSORS, _STATE, _MANIFEST):
            flush(aside / name)
        # The same step may be saved twice, at an interval and at the end: the first one
        # is moved away, since a folder cannot be replaced and deleting it takes time.
        if path.exists():
            path.rename(former)
        aside.rename(path)
        flush(folder)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own
        shutil.rmtree(aside, ignore_errors=True)
        if former.exists() and not path.exists():
            former.rename(path)
        raise RunError(
            f"checkpoint {path.name} could not be written ({error}); the older ones are "
            "whole. Free space, or copy the run to another disk, then go on with --resume"
        ) from error
    shutil.rmtree(former, ignore_errors=True)
    fault = verify(path)
    if fault:
        raise RunError(f"checkpoint {path.name} reads back differently ({fault}); check the disk")
    for left in _superseded(folder, step, keep):
        shutil.rmtree(left, ignore_errors=True)
    return path


def recover(folder: Path) -> None:
    """Undo what a kill left half done: put back what was moved away, drop what was begun.

    For the process that trains the run, and no other.
    """
    for former in folder.glob(".step-*.old"):
        path = folder / former.name[1 : -len(".old")]
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(path)
    for aside in folder.glob(".step-*.tmp"):
        shutil.rmtree(aside, ignore_errors=True)


def _superseded(folder: Path, step: int, keep: int) -> list[Path]:
    """Folders that go once `step` has been read back."""
    found = {path: int(m[1]) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name))}
    later = [path for path, number in found.items() if number > step]
    unfinished = [
        path for path, number in found.items() if number < step and not (path / _MANIFEST).is_file()
    ]
    earlier = [path for path in complete(folder) if path not in later]
    return later + unfinished + earlier[:-keep]


def complete(folder: Path) -> list[Path]:
    """Checkpoint folders that have a manifest, by step, oldest first."""
    found = [
        (int(match[1]), path)
        for path in folder.glob("step-*")
        if (match := _NAME.fullmatch(path.name)) and (path / _MANIFEST).is_file()
    ]
    return [path for _, path in sorted(found)]


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text("utf-8"))
        if manifest["schema_version"] != SCHEMA_VERSION:
            return f"schema_version is {manifest['schema_version']}, expected {SCHEMA_VERSION}"
        for name in (_TENSORS, _STATE):
            if _facts(path / name) != manifest["files"][name]:
                return f"{name} does not match the manifest"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each that was passed over."""
    from safetensors.numpy import load_file

    notes = [
        f"{path.name} was never finished and is ignored"
        for path in sorted(folder.glob("step-*"))
        if not (path / _MANIFEST).is_file()
    ]
    for path in reversed(complete(folder)):
        fault = verify(path)
        if fault:
            notes.append(f"{path.name} is damaged and is ignored: {fault}")
            continue
        state = json.loads((path / _STATE).read_text("utf-8"))
        step = int(_NAME.fullmatch(path.name)[1])
        return Checkpoint(path, step, load_file(path / _TENSORS), state), notes
    return None, notes


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
