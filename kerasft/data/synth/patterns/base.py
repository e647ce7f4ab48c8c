"""What a pattern is, what it draws from, and the registry of all patterns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.schema import Column, Kind, Link, Schema, Table
from kerasft.data.synth.words import identifier, listing

Difficulty = Literal["easy", "medium", "hard", "extra"]
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard", "extra")


@dataclass(frozen=True, slots=True)
class Draft:
    """A question and its SQL before the SQL was run."""

    sql: str
    questions: tuple[str, ...]
    """Ways to say the same; one is drawn."""
    explanation: str
    differs_from: tuple[str, ...] = ()
    """Queries whose result must be another one, such as the same without its filter: a row where
    the filter changes nothing teaches nothing."""
    agrees_with: tuple[str, ...] = ()
    """Queries whose rows must be the same: other readings of the question."""
    sort_keys: str = ""
    """A query that gives the sort key of each row in order; equal neighbours are a tie."""
    limit: int = 0
    """How many of the sorted rows are kept; 0 for all."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of question, from easy to extra hard."""

    name: str
    difficulty: Difficulty
    complexity: str
    tables: int
    """How many linked tables it needs."""
    build: Callable[["Draw"], Draft]


PATTERNS: dict[str, Pattern] = {}


def pattern(
    difficulty: Difficulty, complexity: str, tables: int = 1
) -> Callable[[Callable[["Draw"], Draft]], Callable[["Draw"], Draft]]:
    """Register a function that builds a draft, under its own name."""

    def register(build: Callable[["Draw"], Draft]) -> Callable[["Draw"], Draft]:
        name = build.__name__
        PATTERNS[name] = Pattern(name, difficulty, complexity, tables, build)
        return build

    return register


@dataclass(frozen=True, slots=True)
class Draw:
    """A schema and a source of chance. Every method raises `NoFit` when nothing suits."""

    rng: Random
    schema: Schema

    def table(self, *kinds: Kind) -> Table:
        """A table with a usable column of each kind."""
        fitting = [
            table for table in self.schema.tables if all(_usable(table, kind) for kind in kinds)
        ]
        return self.choice(fitting)

    def choice(self, options: Sequence[Any]) -> Any:
        if not options:
            raise NoFit
        return self.rng.choice(options)

    def column(self, table: Table, *kinds: Kind, but: Sequence[Column] = ()) -> Column:
        """A column of one of the kinds, without NULLs, that is none of `but`."""
        return self.choice(
            [column for kind in kinds for column in _usable(table, kind) if column not in but]
        )

    def shown(self, table: Table, most: int = 2, but: Sequence[Column] = ()) -> list[Column]:
        """One to `most` columns to ask for, the label first when there is one."""
        label = table.label
        first = [label] if label and label not in but else []
        others = [
            column for column in table.columns if column.kind != "label" and column not in but
        ]
        self.rng.shuffle(others)
        wanted = self.rng.randint(1, most)
        columns = (first + others)[:wanted]
        if not columns:
            raise NoFit
        return columns

    def link(self, parent_label: bool = True) -> tuple[Table, Link, Table]:
        """A child table, its foreign key and the parent table."""
        return self.choice(
            [
                (child, link, parent)
                for child in self.schema.tables
                for link in child.links
                for parent in [self.schema.table(link.parent)]
                if parent.key and (parent.label or not parent_label)
            ]
        )

    def aggregate(self, column: Column, expression: str = "") -> tuple[str, str]:
        """The SQL of an aggregate that means something for the column, and its words."""
        highest, lowest = column.extremes
        options = [("MAX", highest), ("MIN", lowest)]
        if column.kind == "number" and not column.is_year:
            options.append(("AVG", "average"))
            if column.adds_up:
                options += [("SUM", "total"), ("SUM", "total")]
        function, word = self.rng.choice(options)
        words = total_of(column) if function == "SUM" else f"{word} {column.phrase}"
        return f"{function}({expression or column.sql})", words

    def direction(self, column: Column) -> tuple[str, str, str]:
        """`DESC` or `ASC`, the superlative of the column, and the adjective, which may be empty."""
        index = self.rng.randrange(2)
        return ("DESC", "ASC")[index], column.extremes[index], column.adjectives[index]


def _usable(table: Table, kind: Kind) -> list[Column]:
    """Columns of the kind that hold no NULL: those make `not` and `lowest` ambiguous."""
    return [
        column for column in table.of_kind(kind) if not column.has_null and len(column.values) > 1
    ]


def total_of(column: Column) -> str:
    """`total amount`; a column that is itself a total has an `overall` one."""
    return f"{'overall' if column.phrase.startswith('total') else 'total'} {column.phrase}"


def phrases(columns: Sequence[Column]) -> str:
    """The columns as they are asked for: `title and price`."""
    return listing([column.phrase for column in columns])


def select_list(columns: Sequence[Column]) -> str:
    return ", ".join(column.sql for column in columns)


def list_questions(columns: Sequence[Column], one: str, many: str) -> tuple[str, ...]:
    """Ways to ask for columns of some rows; `one` and `many` are the noun phrases."""
    asked = phrases(columns)
    be = "is" if len(columns) == 1 else "are"
    return (
        f"List the {asked} of every {one}.",
        f"Show the {asked} of all {many}.",
        f"What {be} the {asked} of each {one}?",
        f"Find all {many} and return their {asked}.",
        f"Give me the {asked} for the {many}.",
        f"Return the {asked} of each {one}.",
        f"Look up all {many} and give their {asked}.",
        f"I want to see the {asked} of all {many}.",
    )


def join_sql(child: Table, link: Link, parent: Table) -> str:
    """`JOIN parent ON child.link = parent.key`, for use after FROM child."""
    return f"JOIN {parent.sql} ON {child.sql}.{link.sql} = {key_sql(parent)}"


def key_sql(table: Table) -> str:
    return f"{table.sql}.{identifier(table.key)}"


def qualified(table: Table, column: Column) -> str:
    return f"{table.sql}.{column.sql}"


def qualified_list(table: Table, columns: Sequence[Column]) -> str:
    return ", ".join(qualified(table, column) for column in columns)
