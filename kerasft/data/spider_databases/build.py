"""Databases for Spider's questions, from its schemas: filled, then mended until gold queries speak.

Nothing here comes from Spider's own databases. A database is filled by rule from the words of its
columns and the literals of its gold queries; then each gold query runs, and for one that finds
nothing rows are added that it must find.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlglot import exp

from kerasft.data.spider_databases.fill import fill
from kerasft.data.spider_databases.mutants import mutants
from kerasft.data.spider_databases.queries import Value, evidence, parse, wanted
from kerasft.data.spider_databases.rows import Rows
from kerasft.data.spider_databases.schema import Database, database_of
from kerasft.data.spider_databases.ties import ties
from kerasft.data.spider_databases.witness import Bundle, Evaluate
from kerasft.errors import RunError
from kerasft.records import cannot_write
from kerasft.sql.sandbox import Outcome, Sandbox

_ROUNDS = 8
_STARTS = 4
_SECONDS = 5.0
MUTANT_SECONDS = 1.0
"""For a wrong query: one without its WHERE may join all rows of seven tables."""


def build_database(
    entry: Mapping[str, Any], queries: Sequence[str], path: Path, seed: int, sandbox: Sandbox
) -> Database:
    """One database of `tables.json` as an SQLite file in which the queries find something.

    Args:
        queries: gold queries over it; may be none.
        seed: one seed gives one database.
    """
    trees = {sql: parse(sql) for sql in queries}
    read = [tree for tree in trees.values() if tree is not None]
    plain = database_of(entry)
    database = database_of(entry, evidence(read, plain.tables))
    asked = wanted(read, database)
    best: tuple[tuple[int, int], bytes] | None = None
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.sqlite"
        for start in range(_STARTS):
            rows = Rows(database, asked, Random(f"{seed}/{database.db_id}/{start}"))
            fill(rows)
            for fault in _mended(rows, trees, draft, sandbox):
                if best is None or fault < best[0]:
                    best = fault, draft.read_bytes()
            if best is not None and best[0] == (0, 0):
                break
    _write_bytes(path, best[1])
    return database


def _mended(
    rows: Rows, trees: Mapping[str, exp.Query | None], draft: Path, sandbox: Sandbox
) -> Iterator[tuple[int, int]]:
    """Write the rows, say how many queries are silent and how many cuts tied, mend, and again."""

    def run(sql: str, seconds: float = _SECONDS) -> Outcome:
        return sandbox.run(sql, database=draft, seconds=seconds)

    def evaluate(sql: str) -> Value | None:
        outcome = run(sql)
        cell = outcome.rows[0][0] if outcome.rows else None
        return cell if isinstance(cell, int | float | str) else None

    read = [tree for tree in trees.values() if tree is not None]
    rows.write(draft)
    for tree in _untold(rows.database, read, partial(run, seconds=MUTANT_SECONDS)):
        _insert(rows, tree, evaluate, 0)
    for attempt in range(_ROUNDS):
        rows.write(draft)
        silent = [tree for sql, tree in trees.items() if tree and not speaks(run(sql))]
        tied = ties(rows, read, run)
        yield len(silent), len(tied)
        if not silent and not tied:
            return
        for tree in silent:
            for branch in (0, 1) if tree.find(exp.Or) else (attempt % 2,):
                _insert(rows, tree, evaluate, branch)
        if not silent:
            for mend in tied:
                mend()


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file aside and rename it.

    Raises:
        RunError: the file cannot be written; the old one is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _insert(rows: Rows, tree: exp.Query, evaluate: Evaluate, branch: int) -> None:
    bundle = Bundle(rows, evaluate, branch)
    bundle.require(tree)
    bundle.insert()


def _untold(
    database: Database, trees: Sequence[exp.Query], run: Callable[[str], Outcome]
) -> list[exp.Query]:
    """The wrong queries near gold ones that give the same rows: rows for them tell them apart."""
    found = []
    for tree in trees:
        gold = run(tree.sql(dialect="sqlite"))
        for _, mutant in mutants(tree, database):
            other = run(mutant.sql(dialect="sqlite"))
            if other.status == "ok" and other.rows == gold.rows:
                found.append(mutant)
    return found


def speaks(outcome: Outcome) -> bool:
    """Whether a result says something: rows, and not only NULLs or a single zero."""
    if outcome.status not in ("ok", "too_many_rows") or not outcome.rows:
        return False
    if all(cell is None for row in outcome.rows for cell in row):
        return False
    return outcome.rows != ((0,),)
