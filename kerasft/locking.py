"""One process a run: the lock on a run folder.

The lock is the operating system's own (flock, on Windows a locked byte), so it ends with
the process however that ends: nothing is stale after a kill. The file beside it only says
who holds it.
"""

import contextlib
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from kerasft.errors import RunError

NAME = ".lock"
_TRIES = 5
_PAUSE = 0.1
"""Seconds between tries: `is_locked` holds the lock for a moment."""


class RunLock:
    """A context in which a run folder is this process's alone.

    Args:
        folder: an existing run folder.

    Raises:
        RunError: on entering, where another process has it, or the lock file cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "RunLock":
        path = self._folder / NAME
        for _ in range(_TRIES):
            try:
                file = _opened(path)
            except OSError as error:
                raise RunError(
                    f"{path} cannot be written: {error.strerror}; a run is trained in a folder "
                    "that can be written to, so copy it to one"
                ) from error
            if take(file) and _is_at(file, path):
                with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
                    file.truncate(0)
                    file.write(json.dumps(_holder()).encode())
                self._file = file
                return self
            file.close()
            time.sleep(_PAUSE)
        raise RunError(
            f"{self._folder} is in use by {held_by(self._folder)}; wait until it is done, or "
            "give another folder"
        )

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        # Removed while it is held: who opened it meanwhile sees that it is gone.
        with contextlib.suppress(OSError):
            (self._folder / NAME).unlink()
        self._file.close()
        self._file = None
        with contextlib.suppress(OSError):  # Windows removes no open file
            (self._folder / NAME).unlink()


def is_locked(folder: Path) -> bool:
    """Whether a process is training in a run folder at the moment."""
    path = folder / NAME
    if not path.exists():
        return False
    try:
        with path.open("rb+") as file:
            return not take(file)
    except OSError:  # a read-only copy is nobody's
        return False


def held_by(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        holder = json.loads((folder / NAME).read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _holder() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "rb+", buffering=0)


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether the file that was locked is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 30
    """Far behind the text: a locked byte cannot be read by others."""

    def take(file: IO[bytes]) -> bool:
        """Lock an open file until it is closed; whether no other process has it locked."""
        file.seek(_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        file.seek(0)
        return True

else:
    import errno
    import fcntl

    def take(file: IO[bytes]) -> bool:
        """Lock an open file until it is closed; whether no other process has it locked."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # On a file system without locks, better no lock than no run.
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        return True
