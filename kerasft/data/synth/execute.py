"""Run a draft's queries and decide whether the row is worth keeping.

Over a built-in domain both the SQL and the rows are the generator's own, so it runs in this
process. A budget of virtual machine steps, which unlike a clock gives the same answer on every
machine, ends a query that takes too long.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from kerasft.data.synth.patterns import Draft

_STEPS_PER_CALL = 10_000
_STEP_BUDGET = 20_000_000
_MOST_ROWS = 10_000

Rows = list[tuple[Any, ...]]
Run = Callable[[str], Rows | None]
"""Gives the rows of a query; None when it takes too long or gives too many."""


def rows_of(connection: sqlite3.Connection, sql: str) -> Rows | None:
    """The rows of a query; None when it takes too long or gives too many.

    Raises:
        sqlite3.Error: the query is wrong.
    """
    calls = 0

    def over_budget() -> bool:
        nonlocal calls
        calls += 1
        return calls * _STEPS_PER_CALL > _STEP_BUDGET

    connection.set_progress_handler(over_budget, _STEPS_PER_CALL)
    try:
        rows = connection.execute(sql).fetchmany(_MOST_ROWS + 1)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return rows if len(rows) <= _MOST_ROWS else None


def is_worth_keeping(run: Run, draft: Draft) -> bool:
    """Whether the draft's SQL runs, says something, and is the only reading of its question."""
    rows = run(draft.sql)
    if not rows or _says_nothing(rows):
        return False
    for other in draft.differs_from:
        if run(other) in (None, rows):
            return False
    for other in draft.agrees_with:
        answer = run(other)
        if answer is None or Counter(answer) != Counter(rows):
            return False
    return not draft.sort_keys or not _has_tie(run, draft)


def _says_nothing(rows: Rows) -> bool:
    """Only NULLs, or a single zero."""
    return all(value is None for row in rows for value in row) or rows == [(0,)]


def _has_tie(run: Run, draft: Draft) -> bool:
    keys = run(draft.sort_keys)
    if keys is None or len(keys) <= draft.limit:
        return True
    seen = keys[: draft.limit + 1] if draft.limit else keys
    return any(first == second for first, second in pairwise(seen))
