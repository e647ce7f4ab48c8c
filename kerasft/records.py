"""The JSON files of a run: one object with a schema version, written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.errors import RunError
from kerasft.masking import masked

SCHEMA_VERSION = 1


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write an object with its schema version, aside and renamed.

    Numbers that are not finite become null, secrets of the environment are masked.

    Raises:
        RunError: the file cannot be written.
    """
    header = {"schema_version": SCHEMA_VERSION}
    content = {**header, **fields, **header}  # first in the file, and not the old one
    write_text(
        path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, schema version included.

    Raises:
        RunError: the file cannot be read, is damaged, or is of a newer version.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise RunError(f"{path} is not one of kerasft's files: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise RunError(
            f"{path} has schema version {version}, and this kerasft reads up to "
            f"{SCHEMA_VERSION}: upgrade it with `pip install -U kerasft`"
        )
    return content


def write_text(path: Path, text: str) -> None:
    """Write a file aside, bring it to the disk, and rename it into place.

    A reader, and a run killed at any instant, sees the old file or the new one.

    Raises:
        RunError: the file cannot be written; the old one is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        with contextlib.suppress(PermissionError):  # a folder that may be written, not read
            flush(path.parent)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """A value as JSON's own types: finite numbers, no secrets.

    Raises:
        TypeError: the value is of a type that has no place in these files.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (str, Path)):
        return masked(str(value))
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} has no place in a JSON file of kerasft")


def cannot_write(path: Path, error: OSError) -> str:
    """The sentence for a file or folder that refuses to be written."""
    return (
        f"{path} cannot be written: {error.strerror or error}; "
        "check its rights and its disk, or give another folder with --out"
    )


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's memory to the disk.

    Raises:
        OSError: the disk refuses.
    """
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and its rename is durable with the file.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
