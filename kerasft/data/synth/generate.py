"""The stream of generated rows."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from difflib import get_close_matches
from functools import partial
from random import Random
from typing import Any

from kerasft.data.synth.builtin import draw_schema
from kerasft.data.synth.catalogue import CATALOGUE
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.duplicates import Seen, SeenOfDatabase
from kerasft.data.synth.execute import is_worth_keeping, rows_of
from kerasft.data.synth.patterns import DIFFICULTIES, PATTERNS, Draft, Draw, Pattern
from kerasft.data.synth.schema import Schema
from kerasft.errors import DataError, collected

DOMAINS: tuple[str, ...] = tuple(CATALOGUE)
"""Names of the built-in domains; some can be left out of training and held out for evaluation."""

_SHARE = {"easy": 30, "medium": 30, "hard": 25, "extra": 15}
"""Percent of rows by difficulty."""
_MOST_CHARACTERS = 1200
_ATTEMPTS = 3000
"""Draws for one row before the generator gives up."""
_ATTEMPTS_PER_PATTERN = 50
"""Draws before another pattern is tried, so that the demanding ones are not crowded out."""

COMPLEXITIES = {
    "basic SQL": "one table, without aggregation or nesting",
    "aggregation": "counts, sums, averages, smallest and largest values, with or without groups",
    "single join": "two tables joined by a key",
    "multiple_joins": "three tables joined by their keys",
    "subqueries": "a query inside a query",
    "set operations": "two queries combined by UNION, INTERSECT or EXCEPT",
    "window functions": "a value over a window of rows, such as a rank or a running total",
    "CTEs": "a named query in a WITH clause",
}
"""`sql_complexity` and its description."""
_REPORTING = ("analytics and reporting", "summarises rows: counts, aggregates, ranks, comparisons")
_RETRIEVAL = ("data retrieval", "looks up rows and columns")


def generate(
    rows: int, seed: int = 0, *, domains: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Generated text-to-SQL rows in gretel's columns, easy to extra hard.

    Every row's SQL was run in SQLite on the row's context and gave rows. Row `i` depends on the
    seed, `i`, and the rows before it, which it must not repeat: a longer stream starts with the
    shorter one.

    Args:
        rows: how many.
        seed: two streams with one seed are the same.
        domains: names from `DOMAINS`; all of them when left out.

    Yields:
        A dict with gretel's columns, `difficulty`, `pattern` and `generated` (always True).

    Raises:
        DataError: an unknown domain, or no new question left for the domains given.
    """
    names = _checked(domains)

    def attempt(rng: Random, pattern: Pattern) -> tuple[Schema, Draft]:
        tables = pattern.tables
        if tables < 3 and rng.random() < 0.2:
            tables += 1
        schema = draw_schema(rng, CATALOGUE[rng.choice(names)], tables)
        if len(schema.context) > _MOST_CHARACTERS:
            raise NoFit
        draft = pattern.build(Draw(rng, schema))
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(schema.context)
            if not is_worth_keeping(partial(rows_of, connection), draft):
                raise NoFit
        return schema, draft

    return stream(rows, seed, attempt, Seen())


def stream(
    rows: int,
    seed: int,
    attempt: Callable[[Random, Pattern], tuple[Schema, Draft]],
    seen: Seen | SeenOfDatabase,
) -> Iterator[dict[str, Any]]:
    """Rows from attempts that give a schema and a draft or raise `NoFit`, as `seen` admits them."""
    for index in range(rows):
        rng = Random(f"{seed}/{index}")
        for tries in range(_ATTEMPTS):
            if tries % _ATTEMPTS_PER_PATTERN == 0:
                pattern = _draw_pattern(rng)
            try:
                schema, draft = attempt(rng, pattern)
            except NoFit:
                continue
            question = rng.choice(draft.questions)
            if seen.admit(schema.signature, question, draft.sql):
                yield _row(index, schema, pattern, draft, question)
                break
        else:
            raise DataError(
                f"{rows} generated rows were asked for, but after {index} rows {_ATTEMPTS} draws "
                f"gave no new question. Ask for {index} rows at most, or give more domains or a "
                "database with more tables and columns."
            )


def held_out(patterns: Collection[str], share: float, seed: int) -> frozenset[str]:
    """A share of the patterns, at least one and not all: by difficulty, so that each is tested."""
    rng = Random(f"{seed}/held out")
    found: list[str] = []
    for difficulty in DIFFICULTIES:
        names = sorted(name for name in patterns if PATTERNS[name].difficulty == difficulty)
        rng.shuffle(names)
        found += names[: min(max(round(share * len(names)), 1), len(names) - 1)]
    return frozenset(found)


def _draw_pattern(rng: Random) -> Pattern:
    (difficulty,) = rng.choices(DIFFICULTIES, [_SHARE[name] for name in DIFFICULTIES])
    return rng.choice([p for p in PATTERNS.values() if p.difficulty == difficulty])


def _checked(domains: Sequence[str] | None) -> list[str]:
    if domains is None:
        return list(DOMAINS)
    faults = []
    for name in domains:
        if name not in CATALOGUE:
            near = get_close_matches(name, DOMAINS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            faults.append(f"{name!r} is no built-in domain{hint}")
    if not domains:
        faults.append("no domain is named")
    if faults:
        raise DataError(collected(f"Domains must be among {', '.join(DOMAINS)}", faults))
    return list(domains)


def _row(
    index: int, schema: Schema, pattern: Pattern, draft: Draft, question: str
) -> dict[str, Any]:
    plain = pattern.complexity == "basic SQL" or pattern.name in ("join_columns", "join_filter")
    task, task_description = _RETRIEVAL if plain else _REPORTING
    return {
        "id": index,
        "domain": schema.domain,
        "domain_description": schema.description,
        "sql_complexity": pattern.complexity,
        "sql_complexity_description": COMPLEXITIES[pattern.complexity],
        "sql_task_type": task,
        "sql_task_type_description": task_description,
        "sql_prompt": question[0].upper() + question[1:],
        "sql_context": schema.context,
        "sql": draft.sql,
        "sql_explanation": draft.explanation,
        "difficulty": pattern.difficulty,
        "pattern": pattern.name,
        "generated": True,
    }
