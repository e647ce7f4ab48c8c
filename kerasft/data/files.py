"""Rows of local files: JSON lines, JSON, CSV and Parquet, read as a stream.

Tolerated, because nothing is lost: a UTF-8 byte order mark at the head of a file,
CRLF line ends, blank lines. Everything else that is wrong becomes a fault that
names file and line, and reading goes on where it can, so that all faults of a
file are known at once.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kerasft.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Data files that can be read."""

_SCHEMAS = ("tables.json", "test_tables.json")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_FIELD = 1 << 27  # characters of one CSV field; csv's own limit is 128 KiB


@dataclass(frozen=True)
class Record:
    """One row as the file has it.

    Attributes:
        where: file and line, for messages.
        values: by column.
    """

    where: str
    values: dict[str, Any]


def read_file(path: Path, faults: list[str]) -> Iterator[Record]:
    """The rows of a file that can be read; what is wrong is added to `faults`.

    Raises:
        DataError: the file cannot be read at all.
    """
    readers = {
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    try:
        yield from reader(path, faults)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def split_files(folder: Path, split: str) -> list[Path]:
    """The data files of a split in a folder, or in its `data` folder, sorted.

    A file is of a split when its name is `SPLIT`, or `SPLIT` before a `-`, `_` or `.`:
    `train.jsonl`, `train-00000-of-00002.parquet`, `train_spider.json`.

    Raises:
        DataError: there is none; the files that are there are named.
    """
    there = _data_files(folder)
    chosen = [path for path in there if _is_of_split(path, split)]
    if not chosen:
        names = ", ".join(path.name for path in there[:12]) or "no data files"
        raise DataError(
            f"{folder} has no file of the split {split!r}: expected a name such as "
            f"{split}.jsonl; it holds {names}. Set data.split, or name the file itself"
        )
    return chosen


def other_files(folder: Path, split: str) -> list[Path]:
    """The data files in a folder that are of other splits; none where it is no folder.

    Spider's `tables.json` holds schemas, not rows.
    """
    return [
        path
        for path in _data_files(folder)
        if not _is_of_split(path, split) and path.name not in _SCHEMAS
    ]


def _data_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for place in (folder, folder / "data")
        if place.is_dir()
        for path in place.iterdir()
        if path.is_file() and path.suffix.lower() in SUFFIXES
    )


def _is_of_split(path: Path, split: str) -> bool:
    return path.stem == split or path.name.startswith((f"{split}-", f"{split}_", f"{split}."))


def _json_lines(path: Path, faults: list[str]) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in _lines(file, path):
            where = f"{path.name} line {number}"
            text = _decoded(line, where, faults)
            if text is None or not text.strip():
                continue
            yield from _object(text.rstrip("\r\n"), where, faults)


def _json(path: Path, faults: list[str]) -> Iterator[Record]:
    content = path.read_bytes().removeprefix(_BOM)
    if content.lstrip()[:1] == b"{":  # JSON lines under another name, as many are
        yield from _json_lines(path, faults)
        return
    _refuse_utf16(content, path)
    text = _decoded(content, path.name, faults)
    if text is None:
        return
    try:
        rows = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        faults.append(f"{path.name}: not JSON: {error}")
        return
    if not isinstance(rows, list):
        faults.append(f"{path.name}: expected a list of rows, got {type(rows).__name__}")
        return
    for number, row in enumerate(rows, 1):
        where = f"{path.name} row {number}"
        if isinstance(row, dict):
            yield Record(where, row)
        else:
            faults.append(f"{where}: expected an object of columns, got {type(row).__name__}")


def _object(text: str, where: str, faults: list[str]) -> Iterator[Record]:
    try:
        row = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        faults.append(f"{where}: not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        faults.append(f"{where}: {error}")
    else:
        if isinstance(row, dict):
            yield Record(where, row)
        else:
            faults.append(f"{where}: expected an object of columns, got {type(row).__name__}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return row


def _csv(path: Path, faults: list[str]) -> Iterator[Record]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open("rb") as file:
            lines = _text_lines(file, path, faults)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            header = next(reader, [])
            wrong = [name for name in header if not name or header.count(name) > 1]
            if not header or wrong:
                shown = ", ".join(repr(name) for name in dict.fromkeys(wrong)) or "nothing"
                faults.append(f"{path.name} line 1: expected unlike column names, got {shown}")
                return
            start = reader.line_num + 1
            for row in reader:
                where = f"{path.name} line {start}"
                start = reader.line_num + 1
                if not row:
                    continue
                if len(row) == len(header):
                    yield Record(where, dict(zip(header, row, strict=True)))
                else:
                    faults.append(f"{where}: expected {len(header)} fields, got {len(row)}")
    except csv.Error as error:
        faults.append(f"{path.name} line {reader.line_num}: not CSV: {error}; reading stopped")
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, faults: list[str]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield Record(f"{path.name} row {number}", row)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name} is not a whole Parquet file: {error}") from error


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, without the byte order mark at the head."""
    for number, line in enumerate(file, 1):
        if number == 1:
            _refuse_utf16(line, path)
            line = line.removeprefix(_BOM)
        yield number, line


def _text_lines(file: BinaryIO, path: Path, faults: list[str]) -> Iterable[str]:
    for number, line in _lines(file, path):
        text = _decoded(line, f"{path.name} line {number}", faults)
        # The fault is known; the rest of the file is parsed with a stand-in.
        yield text if text is not None else line.decode("utf-8", "replace")


def _decoded(content: bytes, where: str, faults: list[str]) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = content[error.start]
        faults.append(f"{where}: not UTF-8: byte 0x{wrong:02x} at {error.start}; save it as UTF-8")
        return None


def _refuse_utf16(head: bytes, path: Path) -> None:
    if head.startswith(_UTF16):
        raise DataError(f"{path.name} is UTF-16, expected UTF-8; save it as UTF-8")
