"""A database's schema as text for a prompt: CREATE TABLE statements, and values on request."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from kerasft.sql.names import quoted, table_reference
from kerasft.sql.schema import Schema, Table

Samples = Mapping[str, Mapping[str, Sequence[object]]]
"""Values by the names of table and column."""

_PLAIN_TYPE = re.compile(r"""[\w\s.,()\[\]'"]*""")


def create_statements(
    schema: Schema, *, tables: Collection[str] | None = None, samples: Samples | None = None
) -> str:
    """The schema as one CREATE TABLE statement a line, as the shipped recipes train on.

    A line has the columns with their declared types, then PRIMARY KEY and FOREIGN KEY, and
    nothing else of the table: no defaults, checks or indexes. A view is written as a table of
    its columns, since that is what a query sees of it. `prompt.context = "schema"` leaves the
    text without samples as it is, and takes the samples, which are comments, out.

    Args:
        schema: tables and views in the order of the text.
        tables: names of those to write; all where not given. A foreign key is written only
            where the table that it refers to is.
        samples: shown as a comment a column, below the table.
    """
    kept = [table for table in schema.tables if tables is None or table.name in tables]
    there = {table.name.lower(): table for table in kept}
    lines = []
    for table in kept:
        lines.append(_statement(table, there, schema))
        columns = (samples or {}).get(table.name, {})
        lines += [
            f"-- {_one_line(table.name)}.{_one_line(column)}: {', '.join(map(_literal, values))}"
            for column, values in columns.items()
            if values
        ]
    return "\n".join(lines)


def _statement(table: Table, there: Mapping[str, Table], schema: Schema) -> str:
    def name(text: str) -> str:
        return quoted(text, schema.engine)

    def names(texts: Sequence[str]) -> str:
        return ", ".join(map(name, texts))

    parts = [f"{name(column.name)} {_type(column.type)}".rstrip() for column in table.columns]
    key = sorted(
        (column for column in table.columns if column.primary_key),
        key=lambda column: column.primary_key,
    )
    if key:
        parts.append(f"PRIMARY KEY ({names([column.name for column in key])})")
    for link in table.foreign_keys:
        other = there.get(link.table.lower())
        if other is not None:
            # By the name as the key has it, which may differ in case.
            target = table_reference(replace(other, name=link.table), schema.engine)
            columns = f"({names(link.references)})" if link.references else ""
            parts.append(f"FOREIGN KEY ({names(link.columns)}) REFERENCES {target}{columns}")
    return f"CREATE TABLE {table_reference(table, schema.engine)} ({', '.join(parts)});"


def _type(declared: str) -> str:
    """A declared type with its spaces unified; nothing where it is no type.

    SQLite takes any quoted text for a type, also such that would end the statement.
    """
    depth = 0
    for character in declared:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return ""
    if depth or not _PLAIN_TYPE.fullmatch(declared):
        return ""
    return re.sub(
        r" ?([(),]) ?", lambda mark: mark[1] + " " * (mark[1] == ","), _one_line(declared)
    )


def _literal(value: object) -> str:
    """A value as an SQL literal on one line."""
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    return "'" + _one_line(str(value)).replace("'", "''") + "'"


def _one_line(text: str) -> str:
    """Text with each run of white space as one space: a line break would end a comment."""
    return " ".join(text.split())
