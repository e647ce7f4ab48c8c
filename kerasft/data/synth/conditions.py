"""Conditions on one column: the SQL and the English, built from the same draw."""

import math
from dataclasses import dataclass
from random import Random

from kerasft.data.synth.schema import Column
from kerasft.data.synth.words import (
    counted,
    listing,
    literal,
    plain_number,
    spoken_date,
    with_article,
)


class NoFit(Exception):
    """This schema has no column or value that the pattern needs; another draw may have."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A WHERE condition and how it is said."""

    sql: str
    form: str
    """A noun phrase with `*` for the noun: `* published in 2021`."""
    whose: str
    """The same after `whose`: `publication year is 2021`."""

    def of(self, noun: str) -> str:
        """The noun, singular or plural, with the condition on it."""
        return self.form.replace("*", noun)


def date_sql(column: Column, expression: str) -> str:
    """The expression as a day: a time of day would make `= day` and `<= day` miss rows."""
    return f"DATE({expression})" if column.has_time else expression


def equals(rng: Random, column: Column, expression: str = "") -> Condition:
    """`genre = 'Poetry'`."""
    value = _pick(rng, column.values, 2)
    forms = [f"* whose {column.phrase} is {value}", f"* where the {column.phrase} is {value}"]
    if column.tag:
        forms += [column.tag.format(value)] * 2
    return Condition(
        f"{expression or column.sql} = {literal(value)}",
        rng.choice(forms),
        f"{column.phrase} is {value}",
    )


def differs(rng: Random, column: Column) -> Condition:
    """`genre <> 'Poetry'`."""
    value = _pick(rng, column.values, 2)
    forms = (
        f"* whose {column.phrase} is not {value}",
        f"* with {with_article(column.phrase)} other than {value}",
        f"* whose {column.phrase} is anything but {value}",
    )
    return Condition(
        f"{column.sql} <> {literal(value)}", rng.choice(forms), f"{column.phrase} is not {value}"
    )


def among(rng: Random, column: Column) -> Condition:
    """`genre IN ('Poetry', 'Drama')`."""
    if len(column.values) < 3:
        raise NoFit
    size = 3 if len(column.values) > 4 and rng.random() < 0.3 else 2
    values = [str(value) for value in rng.sample(column.values, size)]
    either = listing(values, "or")
    forms = (
        f"* whose {column.phrase} is {either}",
        f"* whose {column.phrase} is one of {', '.join(values)}",
        f"* with {with_article(column.phrase)} of {either}",
    )
    listed = ", ".join(literal(value) for value in values)
    return Condition(
        f"{column.sql} IN ({listed})", rng.choice(forms), f"{column.phrase} is {either}"
    )


def compares(rng: Random, column: Column, expression: str = "") -> Condition:
    """A number or a date against a bound: `price > 30`, `published < '2020-01-01'`."""
    if column.kind == "date":
        return _compares_date(rng, column, expression or column.sql)
    return _compares_number(rng, column, expression or column.sql)


def _compares_number(rng: Random, column: Column, expression: str) -> Condition:
    bound = _bound(rng, column.values)
    operator = rng.choice((">", "<", ">=", "<=") if not column.is_year else (">", "<"))
    said = counted(bound, column.unit)
    noun = with_article(column.phrase)
    if column.is_year:
        word = {">": "after", "<": "before"}[operator]
        forms = [f"* with {noun} {word} {said}", f"* whose {column.phrase} is {word} {said}"]
        whose = f"{column.phrase} is {word} {said}"
    elif column.counts:
        word = {">": "more than", "<": "fewer than", ">=": "at least", "<=": "at most"}[operator]
        forms = [f"* with {word} {counted(bound, column.counts)}"] * 2
        whose = f"{column.phrase} is {word.replace('fewer', 'less')} {plain_number(bound)}"
        forms.append(f"* whose {whose}")
    else:
        words = {
            ">": ("above", "over", "higher than", "greater than"),
            "<": ("below", "under", "lower than", "less than"),
            ">=": ("at least", "no less than"),
            "<=": ("at most", "no more than"),
        }[operator]
        word = rng.choice(words)
        joint = "of " if operator in (">=", "<=") else ""
        forms = [f"* with {noun} {joint}{word} {said}", f"* whose {column.phrase} is {word} {said}"]
        whose = f"{column.phrase} is {word} {said}"
    return Condition(f"{expression} {operator} {literal(bound)}", rng.choice(forms), whose)


def _compares_date(rng: Random, column: Column, expression: str) -> Condition:
    day = str(_inner(rng, column.values))[:10]
    said = spoken_date(day) if rng.random() < 0.4 else day
    operator, word = rng.choice(((">", "after"), ("<", "before"), (">=", "on or after")))
    noun = with_article(column.phrase)
    forms = [
        f"* with {noun} {word} {said}",
        f"* whose {column.phrase} is {word} {said}",
    ]
    if column.verb:
        forms += [f"* {column.verb} {word} {said}"] * 2
    return Condition(
        f"{date_sql(column, expression)} {operator} {literal(day)}",
        rng.choice(forms),
        f"{column.phrase} is {word} {said}",
    )


def between(rng: Random, column: Column) -> Condition:
    """A closed range: `price BETWEEN 10 AND 30`."""
    if len(column.values) < 4:
        raise NoFit
    low, high = sorted(rng.sample(sorted(column.values), 2))
    if column.kind == "date":
        low, high = str(low)[:10], str(high)[:10]
        if low == high:
            raise NoFit
        spoken = rng.random() < 0.4
        said = " and ".join(spoken_date(day) if spoken else day for day in (low, high))
        forms = [
            f"* with {with_article(column.phrase)} between {said}",
            f"* whose {column.phrase} is between {said}",
        ]
        if column.verb:
            forms += [f"* {column.verb} between {said}"] * 2
        expression = date_sql(column, column.sql)
    elif column.counts:
        said = f"{plain_number(low)} and {plain_number(high)}"
        forms = [
            f"* with between {said} {column.counts}",
            f"* whose {column.phrase} is between {said}",
        ]
        expression = column.sql
    else:
        said = f"{plain_number(low)} and {counted(high, column.unit)}"
        forms = [
            f"* with {with_article(column.phrase)} between {said}",
            f"* whose {column.phrase} is between {said}",
            f"* with {with_article(column.phrase)} from {said.replace(' and ', ' to ')}",
        ]
        expression = column.sql
    return Condition(
        f"{expression} BETWEEN {literal(low)} AND {literal(high)}",
        rng.choice(forms),
        f"{column.phrase} is between {said}",
    )


def matches(rng: Random, column: Column) -> Condition:
    """A prefix, a suffix or a part of a text: `title LIKE 'The%'`."""
    value = str(rng.choice(column.values))
    words = [word for word in value.split() if word.isalpha() and len(word) > 1]
    if not words:
        raise NoFit
    where = rng.choice(("starts", "ends", "contains"))
    if where == "starts":
        part = value[: rng.choice((1, 2))] if rng.random() < 0.5 else value.split()[0]
        said, mask = f"starts with '{part}'", f"{part}%"
    elif where == "ends":
        part = value.split()[-1] if rng.random() < 0.6 else value[-2:]
        said, mask = f"ends with '{part}'", f"%{part}"
    else:
        part = rng.choice(words)
        said, mask = rng.choice((f"contains '{part}'", f"includes '{part}'")), f"%{part}%"
    if not part.replace(" ", "").isalpha():
        raise NoFit
    return Condition(
        f"{column.sql} LIKE {literal(mask)}",
        f"* whose {column.phrase} {said}",
        f"{column.phrase} {said}",
    )


def in_year(rng: Random, column: Column, expression: str = "") -> Condition:
    """The rows of one year: `strftime('%Y', published) = '2021'`."""
    years = sorted({str(value)[:4] for value in column.values})
    year = _pick(rng, years, 2)
    forms = [
        f"* with {with_article(column.phrase)} in {year}",
        f"* whose {column.phrase} is in {year}",
        f"* whose {column.phrase} falls in {year}",
    ]
    if column.verb:
        forms += [f"* {column.verb} in {year}"] * 3
    return Condition(
        f"strftime('%Y', {expression or column.sql}) = {literal(year)}",
        rng.choice(forms),
        f"{column.phrase} is in {year}",
    )


def any_of(rng: Random, column: Column, expression: str = "") -> Condition:
    """A simple condition that suits the kind of the column."""
    if column.kind in ("category", "label"):
        return equals(rng, column, expression)
    if column.kind == "date" and rng.random() < 0.4:
        return in_year(rng, column, expression)
    return compares(rng, column, expression)


def _pick(rng: Random, values: tuple | list, least: int):
    if len(values) < least:
        raise NoFit
    return rng.choice(values)


def _inner(rng: Random, values: tuple):
    """A value that is neither the first nor the last in order."""
    ordered = sorted(values)
    if len(ordered) < 3:
        raise NoFit
    return rng.choice(ordered[1:-1])


def _bound(rng: Random, values: tuple) -> int | float:
    """An inner value, half of the time rounded to two digits as a person would say it."""
    value = _inner(rng, values)
    if isinstance(value, float):
        value = round(value, 2)
    if abs(value) >= 20 and rng.random() < 0.5:
        digits = 1 - math.floor(math.log10(abs(value)))
        rounded = round(value, digits)
        if min(values) < rounded < max(values) and not 1900 <= value <= 2100:
            value = int(rounded) if rounded == int(rounded) else rounded
    return value
