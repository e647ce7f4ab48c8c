"""How a built-in domain is written down: entities, their fields, and pools of values."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from random import Random
from typing import Any

from kerasft.data.synth.schema import Kind


@dataclass(frozen=True, slots=True)
class Field:
    """A column as a domain declares it; `names` are words, the first is the usual one."""

    names: tuple[str, ...]
    kind: Kind
    draw: Callable[[Random, int], list[Any]]
    """`draw(rng, rows)`: one value a row; distinct unless the kind is `category`."""
    sql_types: tuple[str, ...]
    unit: str = ""
    counts: str = ""
    verb: str = ""
    tag: str = ""
    adjectives: tuple[str, str] = ("", "")
    adds_up: bool = False
    is_year: bool = False
    optional: bool = False
    """Whether some schemas leave the value out of some rows."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A table as a domain declares it."""

    names: tuple[str, ...]
    fields: tuple[Field, ...]
    parents: tuple[tuple[str, str], ...] = ()
    """(entity, preposition): books `by` an author."""
    is_person: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A few entities that belong together. An entity follows those that it refers to."""

    name: str
    description: str
    entities: tuple[Entity, ...]


def entity(names: str, *fields: Field, of: str = "", person: bool = False) -> Entity:
    """`names` are synonyms split by `|`; `of` lists parents, as `by author, at shop`."""
    parents = tuple(
        (words.split(" ", 1)[1], words.split(" ", 1)[0]) for words in of.split(", ") if words
    )
    return Entity(tuple(names.split("|")), fields, parents, person)


_TEXT = ("TEXT", "TEXT", "VARCHAR(50)", "VARCHAR(100)")


def label(names: str, pool: tuple[str, ...]) -> Field:
    """The text that names a row: a title, a full name."""
    return Field(tuple(names.split("|")), "label", lambda rng, rows: rng.sample(pool, rows), _TEXT)


def category(names: str, values: str, tag: str = "", optional: bool = False) -> Field:
    """A text that repeats; `values` are split by commas."""
    pool = tuple(value.strip() for value in values.split(","))

    def draw(rng: Random, rows: int) -> list[str]:
        few = rng.sample(pool, min(len(pool), rng.choice((2, 3, 3, 4))))
        return [rng.choice(few) for _ in range(rows)]

    return Field(tuple(names.split("|")), "category", draw, _TEXT, tag=tag, optional=optional)


def number(
    names: str,
    low: float,
    high: float,
    step: float = 1,
    unit: str = "",
    *,
    adds_up: bool = False,
    most: str = "",
    least: str = "",
    optional: bool = False,
) -> Field:
    """A measure from `low` to `high` in steps; `unit` is a plural such as `dollars`."""
    whole = float(step).is_integer() and float(low).is_integer()

    def draw(rng: Random, rows: int) -> list[int | float]:
        steps = rng.sample(range(int((high - low) / step) + 1), rows)
        return [int(low + k * step) if whole else round(low + k * step, 2) for k in steps]

    return Field(
        tuple(names.split("|")),
        "number",
        draw,
        ("INTEGER", "INTEGER", "INT") if whole else ("REAL", "REAL", "FLOAT", "DECIMAL(10,2)"),
        unit=unit,
        adjectives=(most, least),
        adds_up=adds_up,
        optional=optional,
    )


def count(what: str, names: str, low: int, high: int, step: int = 1, **more: Any) -> Field:
    """How many of something a row has: `count("pages", "pages|page count", 90, 800)`."""
    plain = number(names, low, high, step, **more)
    return Field(
        plain.names,
        "number",
        plain.draw,
        plain.sql_types,
        counts=what,
        adjectives=plain.adjectives,
        adds_up=True,
        optional=plain.optional,
    )


def year(names: str, low: int, high: int, most: str = "", least: str = "") -> Field:
    """A year as a number."""
    plain = number(names, low, high)
    return Field(
        plain.names, "number", plain.draw, plain.sql_types, adjectives=(most, least), is_year=True
    )


def day(
    names: str,
    low: str,
    high: str,
    verb: str = "",
    *,
    most: str = "",
    least: str = "",
    optional: bool = False,
) -> Field:
    """A date, written YYYY-MM-DD."""
    first = date.fromisoformat(low)
    days = (date.fromisoformat(high) - first).days

    def draw(rng: Random, rows: int) -> list[str]:
        # Most schemas span three years, so that years and months repeat and can be grouped.
        span = min(days, rng.choice((400, 900, 1100, days)))
        start = rng.randint(0, days - span)
        return [
            (first + timedelta(start + k)).isoformat() for k in rng.sample(range(span + 1), rows)
        ]

    return Field(
        tuple(names.split("|")),
        "date",
        draw,
        ("DATE", "DATE", "TEXT"),
        verb=verb,
        adjectives=(most, least),
        optional=optional,
    )


def pairs(first: str, second: str) -> tuple[str, ...]:
    """Every word of the first list with every entry of the second; both split by commas."""
    return tuple(
        f"{a.strip()} {b.strip()}" for a, b in product(first.split(","), second.split(","))
    )


def pool(values: str) -> tuple[str, ...]:
    """Values split by commas."""
    return tuple(value.strip() for value in values.split(","))


PEOPLE = pairs(
    "Ines,Tomas,Amara,Jonas,Leila,Viktor,Mei,Oscar,Priya,Daniel,Sofia,Kofi,Hana,Ravi,Elena,Marco,"
    "Yara,Felix,Nadia,Samuel",
    "Calloway,Brandt,Okafor,Lindqvist,Haddad,Petrov,Tanaka,Moreau,Sharma,Whitfield,Romero,Mensah,"
    "Novak,Iyer,Costa,Bianchi,Farah,Keller,Rahman,Doyle",
)
CITIES = (
    "Lisbon, Oslo, Nairobi, Lima, Kyoto, Denver, Hamburg, Cork, Izmir, Toronto, Accra, Porto, "
    "Tampere, Leeds"
)
COUNTRIES = (
    "Portugal, Norway, Kenya, Peru, Japan, Canada, Germany, Ireland, Turkey, Ghana, Finland, "
    "Chile, India, Mexico"
)
