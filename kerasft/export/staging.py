"""A folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerasft.errors import ExportError


def check_free(out: Path) -> None:
    """Raises ExportError if something lies at `out`, unless it is an empty folder."""
    if out.is_dir() and any(out.iterdir()):
        raise ExportError(
            f"{out} is not empty, and an export never overwrites. Give another --out, or "
            "remove that folder first."
        )
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file; expected a new folder. Give another --out.")


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place when the block ends well.

    When the block raises, the hidden folder is removed and `out` is as it was.

    Raises:
        ExportError: `out` is not free, or the folder cannot be made or moved.
    """
    check_free(out)
    staged = out.absolute().parent / f".{out.absolute().name}.partial-{os.getpid()}"
    try:
        staged.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"No folder can be made beside {out}: {error.strerror}.") from None
    try:
        yield staged
        check_free(out)
        if out.is_dir():
            out.rmdir()  # Windows renames onto nothing, not even an empty folder
        staged.rename(out)
    except OSError as error:
        raise ExportError(f"{out} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
