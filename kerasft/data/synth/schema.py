"""What a pattern knows about a schema: tables, columns, links, the words and values for each."""

from dataclasses import dataclass
from typing import Literal

from kerasft.data.synth.words import identifier

Kind = Literal["key", "label", "category", "number", "date", "text"]
"""What a column can be asked: a `label` names its row and is unique; a `category` repeats; `text`
is free text that is only shown or matched with LIKE."""


_EXTREMES = {
    **dict.fromkeys(("duration", "length", "runtime", "time"), ("longest", "shortest")),
    **dict.fromkeys(
        ("area", "size", "height", "quantity", "amount", "capacity", "volume", "aperture"),
        ("largest", "smallest"),
    ),
    **dict.fromkeys(("distance", "depth"), ("greatest", "smallest")),
}
"""Superlatives of measures that are not high or low, by the last word of their phrase."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column with the words for it. A pattern draws its literals from `values`."""

    name: str
    phrase: str
    kind: Kind
    sql_type: str
    values: tuple[str | int | float, ...]
    """Distinct values that occur, without NULL."""
    unit: str = ""
    """What a number counts in, as a plural: `dollars`; empty when the phrase says it all."""
    counts: str = ""
    """What a number counts, as a plural: `pages`; the phrase is then `number of pages`."""
    verb: str = ""
    """A participle for a date: `published`."""
    tag: str = ""
    """How a category qualifies a noun: `* from {}`, `{} *`."""
    adjectives: tuple[str, str] = ("", "")
    """Superlatives for the most and the least: `most expensive`, `cheapest`."""
    adds_up: bool = False
    """Whether a sum of this number means something."""
    is_year: bool = False
    has_null: bool = False
    has_time: bool = False
    """Whether the values of a date carry a time of day."""

    @property
    def sql(self) -> str:
        return identifier(self.name)

    @property
    def extremes(self) -> tuple[str, str]:
        """The words for the largest and the smallest value."""
        if self.kind == "date" or self.is_year:
            return "latest", "earliest"
        if self.counts:
            return "largest", "smallest"
        return _EXTREMES.get(self.phrase.split(" ")[-1], ("highest", "lowest"))


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key: `column` of the table that holds it names the key of `parent`."""

    column: str
    parent: str
    preposition: str = "of"
    """Between children and their parents: books `by` authors."""
    has_null: bool = False

    @property
    def sql(self) -> str:
        return identifier(self.column)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the words for one and for many of its rows."""

    name: str
    singular: str
    plural: str
    columns: tuple[Column, ...]
    key: str = ""
    """Its single-column primary key; empty when it has none."""
    links: tuple[Link, ...] = ()
    is_person: bool = False
    schema: str = ""
    """What stands before the dot in the name of a DuckDB table outside `main`."""

    @property
    def sql(self) -> str:
        if self.schema:
            bare = self.name.removeprefix(f"{self.schema}.")
            return f"{identifier(self.schema)}.{identifier(bare)}"
        return identifier(self.name)

    @property
    def who(self) -> str:
        return "who" if self.is_person else "that"

    @property
    def its(self) -> str:
        return "their" if self.is_person else "its"

    def of_kind(self, *kinds: Kind) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.kind in kinds)

    @property
    def label(self) -> Column | None:
        """The column that names a row, if there is one."""
        return next(iter(self.of_kind("label")), None)


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables that belong together, and the SQL that creates and fills them."""

    domain: str
    description: str
    tables: tuple[Table, ...]
    context: str
    """CREATE TABLE and INSERT statements, one line."""

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def signature(self) -> frozenset[str]:
        """Which tables with which columns: two schemas with one signature are the same."""
        return frozenset(
            f"{table.name}.{name}".lower()
            for table in self.tables
            for name in (
                *(column.name for column in table.columns),
                *(link.column for link in table.links),
                table.key,
            )
        )
