"""Values for a column by its name: the built-in domains' fields, names, codes, dates, numbers.

A pool holds the literals that gold queries compare the column with first, then values like them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from functools import cache
from random import Random

from kerasft.data.spider_databases.queries import Value
from kerasft.data.spider_databases.schema import Column, Table
from kerasft.data.synth.catalogue import CATALOGUE, Field
from kerasft.data.synth.catalogue.spec import CITIES, COUNTRIES, PEOPLE, pairs, pool
from kerasft.data.synth.words import PEOPLE_NOUNS, singularize

_THINGS = pairs(
    "Golden,Silent,Northern,Blue,Open,Grand,Little,Hidden,First,Royal",
    "River,Harbor,Garden,Mountain,Crown,Meadow,Bridge,Lantern,Forest,Star",
)
_NOTES = pairs(
    "annual,revised,draft,final,internal,public,short,detailed",
    "summary,report,notice,plan,record,guide,review,outline",
)
_STATES = pool("Indiana, Virginia, Hawaii, Wisconsin, Ohio, Texas, Oregon, Maine, Utah, Nevada")
_STREETS = pairs("12,48,130,7,256,91", "Mill Lane,Station Road,Oak Street,Harbor Way,Park Avenue")
_LANGUAGES = pool("English, Spanish, French, Dutch, Portuguese, Japanese, Italian, Finnish")
_WORDS = {
    "sex": ("F", "M"),
    "gender": ("F", "M"),
    "hand": ("R", "L", "U"),
    "language": _LANGUAGES,
    "street": _STREETS,
    "line 1": _STREETS,
    "state": _STATES,
    "continent": pool("Europe, Asia, Africa, North America, South America, Oceania"),
    "treatment type description": pool("Walk, Vaccination, Examination, Grooming, Surgery"),
    "middle name": pool("Ann, Lee, Rose, James, Marie, Grace, Paul, John"),
}
_COUNTRY = {"country", "nationality", "citizenship", "nation"}
_CITY = {"city", "town", "hometown", "location", "district", "region", "county"}
_LONG = {
    "description",
    "details",
    "detail",
    "note",
    "notes",
    "comment",
    "comments",
    "text",
    "other",
}
_RANGES = {
    "year": (1950, 2022),
    "age": (18, 75),
    "grade": (1, 12),
    "rank": (1, 60),
    "rating": (1, 100),
    "share": (1, 40),
    "population": (20_000, 9_000_000),
    "percentage": (1, 100),
    "price": (50, 900),
    "cost": (50, 1500),
    "amount": (50, 1500),
    "sales": (20_000, 900_000),
    "height": (150, 210),
    "weight": (40, 120),
    "capacity": (1_000, 60_000),
    "attendance": (100, 5_000),
    "duration": (60, 400),
}
_SMALLEST_SPREAD = 12
_CATEGORIES = 7


def pool_of(
    rng: Random,
    table: Table,
    column: Column,
    wanted: Sequence[tuple[str, Value]],
    size: int,
) -> list[Value]:
    """Distinct values for a column: those that satisfy its comparisons, then `size` others or few.

    Args:
        wanted: (operator, literal) of the gold queries.
        size: as many values as the column may need to be unique.
    """
    literal = [found for operator, value in wanted for found in meeting(column, operator, value)]
    if column.type in ("number", "boolean") or _all_numbers(column, wanted):
        rest = _numbers(rng, column, [v for v in literal if isinstance(v, int | float)], size)
        rest = [as_stored(column, value) for value in rest]
    elif column.type == "time" or _all_dates(wanted):
        rest = _times(rng, column, literal, size)
    else:
        rest = _texts(rng, table, column, literal, size)
    return list(dict.fromkeys([*map(lambda v: as_stored(column, v), literal), *rest]))


def meeting(column: Column, operator: str, value: Value) -> list[Value]:
    """Values about a comparison: the literal, and neighbours that it lets pass and refuses."""
    if operator == "like":
        return [matching(str(value))]
    value = as_number(value)
    if operator in ("=", "<>") or isinstance(value, str):
        return [value]
    if isinstance(value, int):
        step = 2 if is_year(value) else max(1, round(abs(value) / 20))
    else:
        step = abs(value) / 20 or 0.5
    beside = value + step if operator in (">", ">=") else value - step
    return [value, beside]


def is_year(value: int | float) -> bool:
    """Whether a number reads as a year of our time."""
    return 1800 <= value <= 2100


def is_label(table: Table, column: Column) -> bool:
    """Whether the column names a row, so that most of its values differ."""
    last = column.words.split(" ")[-1]
    named = last in ("name", "title", "description", "email", "phone", "ssn")
    return column.type == "text" and (named or column.words == table.words)


def matching(pattern: str) -> str:
    """A text that a LIKE pattern matches: `%Hey%` -> `Hey Star`."""
    core = pattern.strip("%").replace("%", " and ").replace("_", "a")
    return f"{core} Star".strip() if pattern.endswith("%") else core


def as_number(value: Value, *, padded: bool = False) -> Value:
    """A number where a text is one: `'1970'` -> 1970; `'007'` -> 7 only where `padded`."""
    digits = r"-?\d{1,15}" if padded else r"-?(0|[1-9]\d{0,14})"
    if not isinstance(value, str) or not re.fullmatch(rf"{digits}(\.\d{{1,9}})?", value):
        return value
    return float(value) if "." in value else int(value)


def as_stored(column: Column, value: Value) -> Value:
    """The value as the column's affinity keeps it: text in a TEXT column, `'1'` as 1 elsewhere."""
    if column.type == "text":
        return str(value)
    return value if column.type == "others" else as_number(value, padded=True)


def satisfies(column: Column, value: Value, operator: str, other: Value) -> bool:
    """Whether a comparison holds as SQLite would see it for the column's type."""
    if operator in ("like", "not like"):
        pattern, text = str(other).lower().strip("%"), str(value).lower()
        return (pattern in text) == (operator == "like")
    value, other = as_stored(column, value), as_stored(column, other)
    if isinstance(value, str) != isinstance(other, str):
        value, other = as_number(value), as_number(other)
    if isinstance(value, str) != isinstance(other, str):
        return operator in ("<>",)
    return {
        "=": value == other,
        "<>": value != other,
        ">": value > other,
        "<": value < other,
        ">=": value >= other,
        "<=": value <= other,
    }.get(operator, True)


def _all_numbers(column: Column, wanted: Sequence[tuple[str, Value]]) -> bool:
    if column.type == "time":
        return False
    values = [as_number(value) for _, value in wanted]
    if values:
        return all(isinstance(value, int | float) for value in values)
    last = column.words.split(" ")[-1]
    numeric = {"age", "rank", "rating", "weight", "share", "mpg"}
    return column.type == "text" and (last in numeric or "year" in column.words.split(" "))


def _all_dates(wanted: Sequence[tuple[str, Value]]) -> bool:
    values = [value for _, value in wanted]
    return bool(values) and all(
        isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value) for value in values
    )


def _numbers(
    rng: Random, column: Column, literals: Sequence[int | float], size: int
) -> list[int | float]:
    words = column.words.split(" ")
    known = next((_RANGES[word] for word in reversed(words) if word in _RANGES), None)
    if literals:
        low, high = min(literals), max(literals)
        spread = max((high - low) / 2, abs(high) / 3, 2 if high <= _SMALLEST_SPREAD else 5)
        if is_year(low) and is_year(high):
            spread = min(spread, 12)
        low, high = low - spread, high + spread
        low = max(low, 0) if min(literals) >= 0 else low
    elif known is not None:
        low, high = known
    else:
        low, high = 1, max(30, 2 * size)
    if any(isinstance(value, float) for value in literals):
        return [round(rng.uniform(low, high), 2) for _ in range(size)]
    low, high = int(low), int(high) + 1
    span = range(low, max(high, low + 2))
    return rng.sample(span, min(size, len(span)))


def _times(rng: Random, column: Column, literals: Iterable[Value], size: int) -> list[str]:
    years = [int(str(v)[:4]) for v in literals if re.match(r"(19|20)\d\d", str(v))]
    low = date(min(years) if years else 2010, 1, 1)
    days = 365 * ((max(years) - min(years) if years else 6) + 3)
    with_time = any(len(str(value)) > 10 for value in literals)
    found = []
    for offset in rng.sample(range(days), min(size, days)):
        day = (low + timedelta(offset - 365)).isoformat()
        hour, minute = rng.randrange(24), rng.randrange(60)
        found.append(f"{day} {hour:02}:{minute:02}:00" if with_time else day)
    return found


def _texts(
    rng: Random, table: Table, column: Column, literals: Sequence[Value], size: int
) -> list[Value]:
    words = column.words
    parts = words.split(" ")
    last = parts[-1]
    person = bool(PEOPLE_NOUNS & {singularize(word) for word in (*table.words.split(" "), *parts)})
    shaped = _shaped(rng, words, parts, size)
    if shaped:
        return shaped
    for key in (words, last):
        if key in _WORDS:
            return _some(rng, _WORDS[key], size)
    if parts[0] in ("first", "fname") or words in ("fname", "forename"):
        return _some(rng, tuple(dict.fromkeys(name.split(" ")[0] for name in PEOPLE)), size)
    if parts[0] in ("last", "lname", "family") or words == "surname":
        return _some(rng, tuple(dict.fromkeys(name.split(" ")[1] for name in PEOPLE)), size)
    if _COUNTRY & set(parts):
        return _some(rng, pool(COUNTRIES), size)
    if _CITY & set(parts):
        return _some(rng, pool(CITIES), size)
    if person and last in ("name", "player", "by", "commander", "manager", "director"):
        return _some(rng, PEOPLE, size)
    field = _field(table, words, last)
    if field is not None:
        return _drawn(rng, field, size)
    if _LONG & set(parts):
        return _some(rng, _NOTES, size)
    if last in ("name", "title") or words == table.words:
        return _some(rng, _THINGS, size)
    few = max(3, _CATEGORIES - len(literals))
    return _some(rng, _THINGS, few)


def _shaped(rng: Random, words: str, parts: Sequence[str], size: int) -> list[Value]:
    """Values that have a form of their own: codes, addresses, numbers of phones, flags."""

    def many(make: Callable[[], str]) -> list[Value]:
        return list(dict.fromkeys(make() for _ in range(2 * size)))[:size]

    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if "email" in parts:
        return many(lambda: f"{rng.choice(PEOPLE).replace(' ', '.').lower()}@example.com")
    if {"phone", "cell", "mobile", "fax"} & set(parts):
        return many(lambda: f"555-{rng.randrange(10_000):04}")
    if {"zip", "postcode", "zipcode", "ssn"} & set(parts):
        return many(lambda: f"{rng.randrange(10_000, 99_999)}")
    if parts[-1] in ("code", "abbreviation", "ioc", "id"):
        return many(lambda: "".join(rng.choices(letters, k=3)))
    if parts[-1] == "yn" or parts[0] in ("is", "if", "has"):
        return ["Y", "N"]
    if parts[-1] in ("date", "time") or parts[0] == "date":
        return list(_times(rng, Column(words, words, "time"), (), size))
    return []


@cache
def _fields() -> dict[str, tuple[Field, ...]]:
    """The text fields of the built-in domains, by each of their names."""
    found: dict[str, tuple[Field, ...]] = {}
    for domain in CATALOGUE.values():
        for entity in domain.entities:
            for field in entity.fields:
                if field.kind in ("label", "category"):
                    for name in field.names:
                        found[name] = (*found.get(name, ()), field)
                        first = f"{entity.names[0]} {name}"
                        found[first] = (*found.get(first, ()), field)
    return found


def _field(table: Table, words: str, last: str) -> Field | None:
    singular = " ".join(map(singularize, table.words.split(" ")))
    general = () if words in ("name", "title") else (words,)
    shorter = () if last in ("name", "title") else (last,)
    names = (f"{singular} {words}", *general, f"{singular} {last}", *shorter)
    return next((_fields()[name][0] for name in names if name in _fields()), None)


def _drawn(rng: Random, field: Field, size: int) -> list[Value]:
    found: dict[Value, None] = {}
    for _ in range(12):
        found |= dict.fromkeys(field.draw(rng, 4))
        if len(found) >= size:
            break
    return list(found)[:size]


def _some(rng: Random, values: Sequence[str], size: int) -> list[Value]:
    return rng.sample(list(values), min(size, len(values)))
