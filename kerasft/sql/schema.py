"""What a database holds, as plain values: tables, columns, keys, and whole states."""

from dataclasses import dataclass
from typing import Literal

from kerasft.sql.engine import Engine


@dataclass(frozen=True)
class BadText:
    """TEXT in a database whose bytes are not UTF-8; equal only to the same bytes."""

    data: bytes

    def __str__(self) -> str:
        return self.data.decode("utf-8", "replace")


Cell = int | float | str | bytes | BadText | None
Row = tuple[Cell, ...]
TableKind = Literal["table", "view"]


@dataclass(frozen=True)
class Column:
    """One column of a table or a view.

    Attributes:
        type: as it was declared; "" where SQLite's was left out.
        primary_key: its place in the primary key, from 1; 0 if it is not part of it.
    """

    name: str
    type: str
    not_null: bool = False
    primary_key: int = 0


@dataclass(frozen=True)
class ForeignKey:
    """`columns` of one table that name a row of `table` by its columns `references`."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table or a view.

    Attributes:
        name: with DuckDB's schema and a dot before it where that is not `main`. SQL needs the
            parts apart: `kerasft.sql.names.table_reference`.
        sql: the statement that the engine keeps of it, if it keeps one.
        schema: what stands before the dot in `name`; "" where nothing does.
    """

    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    sql: str | None = None
    schema: str = ""


@dataclass(frozen=True)
class Schema:
    """The tables and views of a database, in the order in which the engine keeps them.

    SQLite keeps the order of creation; DuckDB gives tables before views, each by its object
    number.
    """

    engine: Engine
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class TableState:
    """What a table or view is and holds after a script that wrote.

    Attributes:
        columns: name and declared type of each.
        rows: all of them, in the order in which the engine reads them.
        constraints: whatever else can be compared, one text each, sorted, in lower case and
            with single spaces: `primary key (id)`, `not null (name)`, `default (age) 0`,
            `unique (a, b)`, `check (age > 0)`, `foreign key (a) references other (id)` with its
            actions, `index (a)`, `unique index (a) where …`, `trigger after insert …`. Names of
            indexes, triggers and constraints are left out.
    """

    name: str
    kind: TableKind
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    constraints: tuple[str, ...] = ()
