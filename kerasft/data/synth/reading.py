"""The tables of a database of your own, with the words and values that patterns ask about.

Schema and values come through the sandbox; nothing else opens the file.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from kerasft.data.synth.schema import Column, Kind, Link, Table
from kerasft.data.synth.words import (
    PEOPLE_NOUNS,
    is_plural,
    pluralize,
    singularize,
    split_identifier,
    vocabulary,
)
from kerasft.errors import DataError
from kerasft.sql.names import table_reference
from kerasft.sql.sandbox import Outcome, Sandbox
from kerasft.sql.schema import Schema as DatabaseSchema
from kerasft.sql.schema import Table as DatabaseTable

Run = Callable[[str], Outcome]
_SAMPLE = 2000
"""Rows of a table that are looked at for its values; fewer where those are too large."""
_SMALL_SAMPLE = 50
_LONGEST_LITERAL = 40
_MOST_CATEGORIES = 40
_FEWEST_NUMBERS = 5
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_CODES = vocabulary(
    """
    id code zip phone fax number no key uuid postal lat lon latitude longitude
    """
)
_SUMS = vocabulary(
    """
    amount bytes cost count downloads hours milliseconds minutes plays points price quantity
    revenue sales seconds size total units views votes
    """
)


def read_tables(sandbox: Sandbox, database: Path) -> tuple[DatabaseSchema, dict[str, Table]]:
    """The schema of a database, and its tables that have rows by name, views left out.

    Raises:
        DataError: its values cannot be read, or no table has rows.
        SqlError: the database cannot be had.
    """
    schema = sandbox.schema(database=database)

    def run(sql: str) -> Outcome:
        outcome = sandbox.run(sql, database=database)
        if outcome.status == "context_error":
            raise DataError(f"{database} cannot be read: {outcome.message}")
        return outcome

    declared = {table.name: table for table in schema.tables if table.kind == "table"}
    if not declared:
        raise DataError(f"{database} has no table, so there is nothing to ask about.")
    keys = {name: _key(table) for name, table in declared.items()}
    tables = {}
    for name, table in declared.items():
        read = _read_table(run, table, table_reference(table, schema.engine), keys)
        if read is not None:
            tables[name] = read
    if not tables:
        raise DataError(f"{database} has no table with rows, so there is nothing to ask about.")
    for name, table in tables.items():
        links = tuple(link for link in table.links if link.parent in tables)
        tables[name] = replace(table, links=links)
    return schema, tables


def _key(table: DatabaseTable) -> str:
    """The name of a primary key of one column; empty when there is none."""
    keys = [column.name for column in table.columns if column.primary_key]
    return keys[0] if len(keys) == 1 else ""


def _read_table(
    run: Run, declared: DatabaseTable, reference: str, keys: Mapping[str, str]
) -> Table | None:
    """The table as patterns see it; None where it has no rows that can be shown, or no words.

    `reference` is the table as SQL names it.
    """
    name = declared.name
    words = name.removeprefix(f"{declared.schema}.") if declared.schema else name
    singular = singularize(split_identifier(words))
    if not singular:
        return None
    sample = run(f"SELECT * FROM {reference} LIMIT {_SAMPLE}")
    if sample.status != "ok":  # a few rows of large values tell enough
        sample = run(f"SELECT * FROM {reference} LIMIT {_SMALL_SAMPLE}")
    if not sample.rows:
        return None
    references = _references(declared, keys)
    columns = []
    for place, column in enumerate(declared.columns):
        if column.name != keys[name] and column.name not in references:
            cells = [row[place] for row in sample.rows]
            columns.append(_read_column(run, reference, singular, column.name, column.type, cells))
    parents = [parent for parent, _ in references.values()]
    links = tuple(
        Link(column, parent, has_null=_has_null(run, reference, column))
        for column, (parent, key) in references.items()
        # Two ways to one parent need names for each that a schema does not tell.
        if parent != name and parents.count(parent) == 1 and key == keys[parent]
    )
    return Table(
        name,
        singular,
        pluralize(singular),
        tuple(_one_label([column for column in columns if column is not None])),
        keys[name],
        links,
        singular.split(" ")[-1] in PEOPLE_NOUNS,
        declared.schema,
    )


def _references(table: DatabaseTable, keys: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Column -> (parent table, its key): declared foreign keys, else columns named like a key."""
    lower = {name.lower(): name for name in keys}
    found = {}
    for link in table.foreign_keys:
        parent = lower.get(link.table.lower())
        if len(link.columns) == 1 and parent:
            target = link.references[0] if link.references else keys[parent]
            is_key = target.lower() == keys[parent].lower()
            column = next(
                c.name for c in table.columns if c.name.lower() == link.columns[0].lower()
            )
            found[column] = (parent, keys[parent] if is_key else target)
    return found or _named_references(table, keys)


def _named_references(table: DatabaseTable, keys: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for parent, key in keys.items():
        singular = singularize(split_identifier(parent))
        for column in (column.name for column in table.columns):
            words = split_identifier(column)
            named = words == split_identifier(key) != "id" or words == f"{singular} id"
            if key and parent != table.name and named and column != keys[table.name]:
                found[column] = (parent, key)
    return found


def _read_column(
    run: Run, table: str, singular: str, name: str, sql_type: str, cells: Sequence[Any]
) -> Column | None:
    """The column as patterns see it; None where there is nothing to ask."""
    present = [cell for cell in cells if cell is not None and cell != ""]
    if not present or not all(_is_plain(cell) for cell in present):
        return None
    words = split_identifier(name)
    if not words:
        return None
    distinct = tuple(dict.fromkeys(present))
    kind = _kind(run, table, name, words, present, distinct)
    usable = distinct
    if kind in ("label", "category", "text"):
        usable = tuple(value for value in distinct if _is_sayable(value))
    plural_count = kind == "number" and is_plural(words)
    return Column(
        name,
        f"number of {words}" if plural_count else words.removeprefix(f"{singular} ") or words,
        kind,
        sql_type,
        usable,
        counts=words if plural_count else "",
        adds_up=kind == "number" and bool(_SUMS & set(words.split())),
        is_year=kind == "number" and words.split()[-1] == "year",
        has_null=_has_null(run, table, name),
        has_time=kind == "date" and any(len(str(value)) > 10 for value in distinct),
    )


def _kind(
    run: Run,
    table: str,
    name: str,
    words: str,
    present: Sequence[Any],
    distinct: tuple[Any, ...],
) -> Kind:
    if all(isinstance(value, int | float) for value in distinct):
        coded = words.split()[-1] in _CODES or len(distinct) < _FEWEST_NUMBERS
        return "text" if coded else "number"
    if not all(isinstance(value, str) for value in distinct):
        return "text"
    if all(map(_is_date, distinct)):
        return "date"
    if len(distinct) <= _MOST_CATEGORIES and len(present) >= 2 * len(distinct):
        return "category"
    counted = run(f"SELECT COUNT(*), COUNT(DISTINCT {_quoted(name)}) FROM {table}")
    total, different = counted.rows[0] if counted.rows else (0, 1)
    return "label" if total == different else "text"


def _one_label(columns: Sequence[Column]) -> Iterable[Column]:
    """Of several unique texts, the one that reads most like a name stays the label."""
    labels = [column for column in columns if column.kind == "label"]
    names = [c for c in labels if c.phrase in ("name", "title", "full name")]
    likely = [c for c in labels if c.phrase.split()[-1] in ("name", "title")]
    label = next(iter(names + likely + labels), None)
    return [
        column if column.kind != "label" or column is label else replace(column, kind="text")
        for column in columns
    ]


def _is_plain(cell: Any) -> bool:
    """A text or a finite number: an infinite one has no literal."""
    return isinstance(cell, int | str) or (isinstance(cell, float) and math.isfinite(cell))


def _is_date(text: str) -> bool:
    """A day of the calendar, which `0000-00-00` is not."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def _is_sayable(value: Any) -> bool:
    text = str(value)
    return len(text) <= _LONGEST_LITERAL and text.isprintable() and text == text.strip()


def _has_null(run: Run, table: str, column: str) -> bool:
    outcome = run(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {_quoted(column)} IS NULL)")
    return not outcome.rows or bool(outcome.rows[0][0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
