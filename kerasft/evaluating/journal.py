"""What an evaluation has worked out so far, so that a stopped one goes on.

    NAME.partial.jsonl
      {"schema_version": 1, "asked": {…}}                       what the answers depend on
      {"what": "answers of tuned", "values": {"3": "SELECT …"}, "seconds": 1.9}
      …

A line is appended and brought to the disk after each batch. The file goes when the results are
written.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kerasft.errors import RunError
from kerasft.locking import take
from kerasft.records import SCHEMA_VERSION, cannot_write, plain


class Journal:
    """Values by what they are and by row, kept in a file; a context manager.

    Args:
        path: the file, begun where there is none.
        asked: everything that the values depend on. A file that was begun for something else
            is begun anew.

    Attributes:
        path: the file.
        changed: what differs from what the file that was found had been asked.

    Raises:
        RunError: the file cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self.path = path
        self.changed: list[str] = []
        self._values: dict[str, dict[int, Any]] = {}
        self._seconds: dict[str, float] = {}
        self._asked = plain(asked)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise RunError(cannot_write(path, error)) from error
        try:
            _lock(self._file, path)
            self._take_up()
        except OSError as error:
            self._file.close()
            raise RunError(cannot_write(path, error)) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._file.closed and not self._values:
            self.remove()  # nobody gains from a file that only says what was asked
        self._file.close()

    def known(self, what: str) -> dict[int, Any]:
        """The values that are there, by row."""
        return dict(self._values.get(what, {}))

    def seconds(self, what: str) -> float:
        """How long the values that are there took."""
        return self._seconds.get(what, 0.0)

    def add(self, what: str, values: Mapping[int, Any], seconds: float) -> None:
        """Keep the values of some rows.

        Raises:
            RunError: the file cannot be written.
        """
        line = {"what": what, "values": values, "seconds": round(seconds, 3)}
        try:
            self._write(line)
        except OSError as error:
            raise RunError(cannot_write(self.path, error)) from error
        self._remember(line)

    def remove(self) -> None:
        """End the journal and drop its file: its values stand in the results now."""
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows removes no open file
            self._file.close()
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _take_up(self) -> None:
        self._file.seek(0)
        read = self._file.read()
        whole = 0  # bytes up to the end of the last line that was written whole
        lines: list[dict[str, Any]] = []
        for raw in read.splitlines(keepends=True):
            line = _parsed(raw)
            if line is None or ("asked" in line) is not (not lines):
                break
            lines.append(line)
            whole += len(raw)
        if lines:
            before = lines[0]["asked"]
            names = sorted(before.keys() | self._asked.keys())
            self.changed = [name for name in names if before.get(name) != self._asked.get(name)]
            if not self.changed and lines[0].get("schema_version") == SCHEMA_VERSION:
                for line in lines[1:]:
                    self._remember(line)
                self._file.truncate(whole)
                return
        self._file.truncate(0)
        self._write({"schema_version": SCHEMA_VERSION, "asked": self._asked})

    def _write(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False) + "\n"
        self._file.write(text.encode("utf-8", "surrogatepass"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _remember(self, line: Mapping[str, Any]) -> None:
        values = {int(row): value for row, value in line["values"].items()}
        self._values.setdefault(line["what"], {}).update(values)
        self._seconds[line["what"]] = self.seconds(line["what"]) + line["seconds"]


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """The object of a line; None for one that a kill left half-written."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    kept = isinstance(line.get("values"), dict) and {"what", "seconds"} <= line.keys()
    return line if kept or isinstance(line.get("asked"), dict) else None


def _lock(file: Any, path: Path) -> None:
    if not take(file):
        file.close()
        raise RunError(
            f"another evaluation is writing {path}; wait for it, or give another folder with --out"
        )
