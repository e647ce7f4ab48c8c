"""The same patterns over a SQLite database of your own, which is only read."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.execute import is_worth_keeping
from kerasft.data.synth.generate import stream
from kerasft.data.synth.patterns import Draft, Draw, Pattern
from kerasft.data.synth.schema import Column, Kind, Link, Schema, Table
from kerasft.data.synth.words import (
    PEOPLE_NOUNS,
    identifier,
    is_plural,
    literal,
    pluralize,
    singularize,
    split_identifier,
    vocabulary,
)
from kerasft.errors import DataError

_SAMPLE = 2000
"""Rows of a table that are looked at for its values."""
_MOST_TABLES = 4
_SAMPLE_ROWS = 2
"""Rows a table in the context."""
_LONGEST_LITERAL = 40
_LONGEST_CELL = 60
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


@dataclass(frozen=True, slots=True)
class _Source:
    """A table of the database with the SQL that shows it in a context."""

    table: Table
    columns: tuple[tuple[str, str], ...]
    """Name and declared type of each column."""
    references: dict[str, tuple[str, str]]
    """Column -> (parent table, its key)."""
    rows: tuple[tuple[Any, ...], ...]


def generate_from_database(path: str | Path, rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Generated text-to-SQL rows over a SQLite database, in the columns of `generate`.

    The context of a row creates the tables of its query, at times with others, and inserts two
    rows of each. Literals are values of the database, and every query was run on it and gave
    rows; on the few rows of its context alone it may give none, so score such rows against the
    database. The database is opened read-only.

    Args:
        path: a SQLite file.
        rows: how many; a small schema has few questions that are not near-duplicates.
        seed: two streams with one seed over one database are the same.

    Raises:
        DataError: the file is missing, is no SQLite database, has no table with rows, or has no
            new question left.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} is not there. Give the path of a SQLite database.")
    try:
        # A name may hold `?`, `#` or `%`, which mean something in a URI.
        uri = f"file:{quote(str(file.resolve()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            sources = _read(connection)
            if not sources:
                raise DataError(f"{file} has no table with rows, so there is nothing to ask about.")
            name = split_identifier(file.stem) or "database"

            def attempt(rng: Random, pattern: Pattern) -> tuple[Schema, Draft]:
                schema = _draw_schema(rng, sources, pattern.tables, name)
                draft = pattern.build(Draw(rng, schema))
                if not is_worth_keeping(connection, draft):
                    raise NoFit
                return schema, draft

            yield from stream(rows, seed, attempt)
    except sqlite3.Error as error:
        raise DataError(
            f"{file} cannot be read as a SQLite database: {error}. Check the path, and that the "
            "file is whole and not locked."
        ) from error


def _draw_schema(rng: Random, sources: dict[str, _Source], tables: int, name: str) -> Schema:
    """`tables` linked tables, and often one or two more, as a context shows them."""
    chosen = [rng.choice(sorted(sources))]
    near = _neighbours(sources)
    while len(chosen) < tables:
        options = sorted({other for one in chosen for other in near[one]} - set(chosen))
        if not options:
            raise NoFit
        chosen.append(rng.choice(options))
    others = sorted(set(sources) - set(chosen))
    extra = min(rng.choice((0, 0, 1, 1, 2)), _MOST_TABLES - tables, len(others))
    chosen += rng.sample(others, extra)
    rng.shuffle(chosen)
    kept = []
    statements = []
    for one in chosen:
        source = sources[one]
        links = tuple(link for link in source.table.links if link.parent in chosen)
        table = replace(source.table, links=links)
        kept.append(table)
        rows = rng.sample(source.rows, min(_SAMPLE_ROWS, len(source.rows)))
        values = ", ".join(f"({', '.join(literal(cell) for cell in row)})" for row in rows)
        insert = f" INSERT INTO {table.sql} VALUES {values};" if rows else ""
        statements.append(f"{_create(source, chosen)};{insert}")
    return Schema(name, f"The SQLite database {name}.", tuple(kept), " ".join(statements))


def _create(source: _Source, shown: list[str]) -> str:
    """CREATE TABLE with the references to tables that the context shows."""
    parts = []
    for column, sql_type in source.columns:
        part = f"{identifier(column)} {sql_type}".strip()
        if column == source.table.key:
            part += " PRIMARY KEY"
        parent, key = source.references.get(column, ("", ""))
        if parent in shown:
            part += f" REFERENCES {identifier(parent)}({identifier(key)})"
        parts.append(part)
    return f"CREATE TABLE {source.table.sql} ({', '.join(parts)})"


def _neighbours(sources: dict[str, _Source]) -> dict[str, set[str]]:
    near: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        for link in source.table.links:
            near[name].add(link.parent)
            near[link.parent].add(name)
    return near


def _read(connection: sqlite3.Connection) -> dict[str, _Source]:
    """The tables that have rows, by name."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        )
    ]
    keys = {name: _key(connection, name) for name in names}
    sources = {}
    for name in names:
        source = _read_table(connection, name, keys)
        if source is not None:
            sources[name] = source
    for name, source in sources.items():
        links = tuple(link for link in source.table.links if link.parent in sources)
        sources[name] = replace(source, table=replace(source.table, links=links))
    return sources


def _key(connection: sqlite3.Connection, table: str) -> str:
    """The name of a primary key of one column; empty when there is none."""
    keys = [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})") if row[5]]
    return keys[0] if len(keys) == 1 else ""


def _read_table(connection: sqlite3.Connection, name: str, keys: dict[str, str]) -> _Source | None:
    declared = list(connection.execute(f"PRAGMA table_info({_quoted(name)})"))
    sample = connection.execute(f"SELECT * FROM {_quoted(name)} LIMIT {_SAMPLE}").fetchall()
    if not sample:
        return None
    references = _references(connection, name, [row[1] for row in declared], keys)
    singular = singularize(split_identifier(name))
    columns = []
    for place, (_, column, sql_type, *_) in enumerate(declared):
        if column != keys[name] and column not in references:
            values = [row[place] for row in sample]
            columns.append(_read_column(connection, name, singular, column, sql_type, values))
    columns = _one_label([column for column in columns if column is not None])
    parents = [parent for parent, _ in references.values()]
    links = tuple(
        Link(column, parent, has_null=_has_null(connection, name, column))
        for column, (parent, key) in references.items()
        # Two ways to one parent need names for each that a schema does not tell.
        if parent != name and parents.count(parent) == 1 and key == keys[parent]
    )
    table = Table(
        name,
        singular,
        pluralize(singular),
        tuple(columns),
        keys[name],
        links,
        singular.split(" ")[-1] in PEOPLE_NOUNS,
    )
    shown = tuple((row[1], row[2]) for row in declared)
    return _Source(table, shown, references, _short_rows(sample))


def _references(
    connection: sqlite3.Connection, name: str, columns: list[str], keys: dict[str, str]
) -> dict[str, tuple[str, str]]:
    """Column -> (parent table, its key): declared foreign keys, else columns named like a key."""
    by_id: dict[int, list[tuple]] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({_quoted(name)})"):
        by_id.setdefault(row[0], []).append(row)
    lower = {table.lower(): table for table in keys}
    found = {}
    for rows in by_id.values():
        parent = lower.get(str(rows[0][2]).lower())
        if len(rows) == 1 and parent:
            actual = next((c for c in columns if c.lower() == str(rows[0][3]).lower()), "")
            target = rows[0][4] or keys[parent]
            found[actual] = (
                parent,
                keys[parent] if target.lower() == keys[parent].lower() else target,
            )
    if found:
        return found
    for parent, key in keys.items():
        singular = singularize(split_identifier(parent))
        for column in columns:
            words = split_identifier(column)
            named = words == split_identifier(key) != "id" or words == f"{singular} id"
            if key and parent != name and named and column != keys[name]:
                found[column] = (parent, key)
    return found


def _read_column(
    connection: sqlite3.Connection,
    table: str,
    singular: str,
    name: str,
    sql_type: str,
    cells: list[Any],
) -> Column | None:
    """The column as patterns see it; None where there is nothing to ask."""
    present = [cell for cell in cells if cell is not None and cell != ""]
    if not present or any(isinstance(cell, bytes) for cell in present):
        return None
    words = split_identifier(name)
    if not words:
        return None
    distinct = tuple(dict.fromkeys(present))
    kind = _kind(connection, table, name, words, present, distinct)
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
        has_null=_has_null(connection, table, name),
        has_time=kind == "date" and any(len(str(value)) > 10 for value in distinct),
    )


def _kind(
    connection: sqlite3.Connection,
    table: str,
    name: str,
    words: str,
    present: list[Any],
    distinct: tuple[Any, ...],
) -> Kind:
    if all(isinstance(value, int | float) for value in distinct):
        coded = words.split()[-1] in _CODES or len(distinct) < _FEWEST_NUMBERS
        return "text" if coded else "number"
    if not all(isinstance(value, str) for value in distinct):
        return "text"
    if all(_DATE.fullmatch(value) for value in distinct):
        return "date"
    if len(distinct) <= _MOST_CATEGORIES and len(present) >= 2 * len(distinct):
        return "category"
    total, different = connection.execute(
        f"SELECT COUNT(*), COUNT(DISTINCT {identifier(name)}) FROM {_quoted(table)}"
    ).fetchone()
    return "label" if total == different else "text"


def _one_label(columns: list[Column]) -> list[Column]:
    """Of several unique texts, the one that reads most like a name stays the label."""
    labels = [column for column in columns if column.kind == "label"]
    names = [c for c in labels if c.phrase in ("name", "title", "full name")]
    likely = [c for c in labels if c.phrase.split()[-1] in ("name", "title")]
    label = next(iter(names + likely + labels), None)
    return [
        column if column.kind != "label" or column is label else replace(column, kind="text")
        for column in columns
    ]


def _is_sayable(value: Any) -> bool:
    text = str(value)
    return len(text) <= _LONGEST_LITERAL and text.isprintable() and text == text.strip()


def _short_rows(sample: list[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Rows that fit into a context: no blob, no long text."""
    return tuple(
        row
        for row in sample
        if not any(
            isinstance(cell, bytes) or (isinstance(cell, str) and len(cell) > _LONGEST_CELL)
            for cell in row
        )
    )


def _has_null(connection: sqlite3.Connection, table: str, column: str) -> bool:
    query = f"SELECT EXISTS (SELECT 1 FROM {_quoted(table)} WHERE {identifier(column)} IS NULL)"
    return bool(connection.execute(query).fetchone()[0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
