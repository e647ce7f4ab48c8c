"""Rows of a recipe's source, under the task's column names, checked before any weights load."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.data.columns import ANSWERS, EXTRAS
from kerasft.data.files import SUFFIXES, Record, read_file, split_files
from kerasft.data.hub import ID, read_hub
from kerasft.data.mapping import ColumnMapping, Row
from kerasft.data.spider import load_schemas
from kerasft.data.turns import conversation
from kerasft.errors import DataError, collected
from kerasft.recipe import DataSettings

SYNTH_ROWS = 2000
"""Rows that `synth` makes where the recipe has no limit."""


@dataclass(frozen=True)
class Dataset:
    """The rows of a source.

    Attributes:
        rows: under the task's column names, in the order of the source.
        source: what they were read from.
        content_hash: `sha256:` over the task's columns of all rows, in order.
        columns: task column = column of the source.
        counts: `read`, `filtered` (left out by only_empty), `rows`, and `repeated`
            (rows whose prompt and context occurred before).
    """

    rows: list[Row]
    source: str
    content_hash: str
    columns: dict[str, str]
    counts: dict[str, int]


def load_rows(settings: DataSettings, task: str) -> Dataset:
    """Read, map and check the rows of a source.

    Args:
        settings: `source`, `columns`, `split`, `config`, `revision`, `schemas` and
            `only_empty` are read; `limit` and `seed` by `synth` alone.
        task: whose columns the rows get. A source of `messages` keeps those.

    Raises:
        DataError: the source cannot be read, columns do not fit, or rows are bad;
            all faults at once, with file, line and reason.
    """
    faults: list[str] = []
    schemas = _schemas(settings)
    mapping: ColumnMapping | None = None
    rows: list[Row] = []
    read = 0
    for record in _records(settings, task, faults):
        read += 1
        if mapping is None:
            mapping = ColumnMapping.resolve(record.values, settings, task, schemas)
        row = mapping.row(record, faults)
        if row is not None:
            rows.append(row)
    if faults:
        raise DataError(collected(f"{settings.source} has rows that cannot be used", faults))
    if not rows or mapping is None:
        raise DataError(_no_rows(settings, read))
    keys = {key_of(row) for row in rows}
    return Dataset(
        rows=rows,
        source=settings.source + (f"@{settings.revision}" if settings.revision else ""),
        content_hash=_content_hash(rows, list(mapping.task_columns)),
        columns=mapping.named,
        counts={
            "read": read,
            "filtered": read - len(rows),
            "rows": len(rows),
            "repeated": len(rows) - len(keys),
        },
    )


def source_columns(settings: DataSettings, task: str) -> list[str]:
    """The columns of a source's first row; none where it has no row that can be read.

    Raises:
        DataError: the source cannot be read.
    """
    first = next(_records(settings, task, []), None)
    return list(first.values) if first is not None else []


def split_rows(dataset: Dataset, settings: DataSettings) -> tuple[list[Row], list[Row]]:
    """Training and validation rows: shuffled by the seed, limited, then split.

    Rows with one (prompt, context), compared without case and spare white space,
    are never on both sides. A group of such rows that is larger than the room left
    stays in training, so validation may be short of a few rows.

    Raises:
        DataError: the held-out rows would leave nothing to train on.
    """
    order = np.random.default_rng(settings.seed & 0xFFFFFFFF).permutation(len(dataset.rows))
    if settings.limit:
        order = order[: settings.limit]
    rows = [dataset.rows[index] for index in order]
    share = settings.validation
    wanted = round(share * len(rows)) if share < 1 else int(share)
    if wanted >= len(rows):
        raise DataError(
            f"data.validation = {share:g} leaves nothing to train on: there are {len(rows)} rows"
        )
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    held: set[str] = set()
    room = wanted
    for key, group in groups.items():
        if len(group) <= room:
            held.add(key)
            room -= len(group)
    return (
        [row for row in rows if key_of(row) not in held],
        [row for row in rows if key_of(row) in held],
    )


def key_of(row: Mapping[str, Any]) -> str:
    """What two rows share when they ask the same: all but the answer, normalised."""
    if "messages" in row:
        messages = conversation(row["messages"])
        last = max(i for i, (role, _) in enumerate(messages) if role == "assistant")
        asked = [f"{role}: {content}" for role, content in messages[:last]]
    else:
        asked = [str(row[key]) for key in row if key not in ANSWERS and key not in EXTRAS]
    return "\x1f".join(" ".join(text.split()).casefold() for text in asked)


def is_remote(settings: DataSettings) -> bool:
    """Whether the rows come from the Hugging Face Hub: neither generated nor a path."""
    path = Path(settings.source).expanduser()
    looks_local = path.exists() or path.suffix.lower() in SUFFIXES
    return settings.source != "synth" and not looks_local and bool(ID.match(settings.source))


def _records(settings: DataSettings, task: str, faults: list[str]) -> Iterator[Record]:
    source = settings.source
    path = Path(source).expanduser()
    if source == "synth":
        yield from _generated(settings, task)
    elif path.is_dir():
        for file in split_files(path, settings.split):
            yield from read_file(file, faults)
    elif path.exists():
        yield from read_file(path, faults)
    elif is_remote(settings):
        yield from read_hub(settings)
    else:
        raise DataError(
            f"data.source: there is no file or folder {source!r}; expected one, a Hugging Face "
            "dataset id such as owner/name, or synth"
        )


def _generated(settings: DataSettings, task: str) -> Iterator[Record]:
    if task != "text_to_sql":
        raise DataError(f'data.source = "synth" makes rows for text_to_sql, not for {task}')
    from kerasft.data import synth

    rows = synth.generate(settings.limit or SYNTH_ROWS, settings.seed)
    for number, row in enumerate(rows, 1):
        yield Record(f"generated row {number}", row)


def _schemas(settings: DataSettings) -> dict[str, str] | None:
    """The contexts by db_id: of data.schemas, or of a folder that has Spider's tables.json."""
    if settings.schemas is not None:
        return load_schemas(Path(settings.schemas).expanduser())
    beside = Path(settings.source).expanduser() / "tables.json"
    return load_schemas(beside) if beside.is_file() else None


def _no_rows(settings: DataSettings, read: int) -> str:
    if read == 0:
        return f"{settings.source} has no rows"
    return (
        f"no row of {settings.source} is left: in none of {read} is "
        f"{' and '.join(settings.only_empty)} empty, which data.only_empty asks for"
    )


def _content_hash(rows: Sequence[Row], columns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        values = [row[column] for column in columns]
        digest.update(json.dumps(values, ensure_ascii=True, sort_keys=True).encode())
        digest.update(b"\n")
    return f"sha256:{digest.hexdigest()}"
