"""The same patterns over an SQLite or DuckDB database of your own, which is only read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.duplicates import SeenOfDatabase
from kerasft.data.synth.execute import Rows, is_worth_keeping
from kerasft.data.synth.generate import stream
from kerasft.data.synth.patterns import Draft, Draw, Pattern
from kerasft.data.synth.reading import read_tables
from kerasft.data.synth.schema import Schema, Table
from kerasft.data.synth.words import split_identifier
from kerasft.sql.describe import create_statements
from kerasft.sql.engine import Engine, engine_of
from kerasft.sql.sandbox import Sandbox
from kerasft.sql.schema import Schema as DatabaseSchema

_MOST_TABLES = 4
_WHOLE = 3000
"""Characters up to which half of the contexts show the whole schema, as a user's question does."""
_SAME_SQL = 4
"""Rows whose SQL differs in its literals alone: one schema has far fewer queries than literals."""
_SECONDS = 2.0
"""For one query: what takes longer on a user's database is no example to learn from."""


def generate_from_database(path: str | Path, rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Generated text-to-SQL rows over an SQLite or DuckDB database, in the columns of `generate`.

    The context of a row is the schema of the tables of its query, at times with others or with
    all, as CREATE TABLE statements without rows: score such rows against the database. Literals
    are values of the database, and every query was run on it and gave rows. Two rows never have
    one question, and at most four have SQL that differs in its literals alone.

    Args:
        path: an SQLite or DuckDB file; it is read through the sandbox only.
        rows: how many; a small schema has few questions.
        seed: two streams with one seed over one database are the same, unless a query is so slow
            that the machine's speed decides whether it is kept.

    Raises:
        DataError: the database has no table with rows, its values cannot be read, or it has no
            new question left.
        SqlError: the file is missing or is no database.
    """
    file = Path(path).expanduser()
    engine = engine_of(file)
    with Sandbox(engine) as sandbox:
        declared, tables = read_tables(sandbox, file)
        name = split_identifier(file.stem) or "database"

        def run(sql: str) -> Rows | None:
            outcome = sandbox.run(sql, database=file, seconds=_SECONDS)
            if outcome.status == "invalid_sql":  # the pattern is none of this engine's
                raise NoFit
            return list(outcome.rows) if outcome.status == "ok" else None

        def attempt(rng: Random, pattern: Pattern) -> tuple[Schema, Draft]:
            schema = _draw_schema(rng, declared, tables, pattern.tables, name)
            draft = _for_engine(pattern.build(Draw(rng, schema)), engine)
            if not is_worth_keeping(run, draft):
                raise NoFit
            return schema, draft

        yield from stream(rows, seed, attempt, SeenOfDatabase(_SAME_SQL))


def _draw_schema(
    rng: Random,
    declared: DatabaseSchema,
    tables: Mapping[str, Table],
    wanted: int,
    name: str,
) -> Schema:
    """`wanted` linked tables, and often one or two more; the context may show all of them."""
    chosen = [rng.choice(sorted(tables))]
    near = _neighbours(tables)
    while len(chosen) < wanted:
        options = sorted({other for one in chosen for other in near[one]} - set(chosen))
        if not options:
            raise NoFit
        chosen.append(rng.choice(options))
    asked = [
        replace(
            tables[one],
            links=tuple(link for link in tables[one].links if link.parent in chosen),
        )
        for one in chosen
    ]
    others = sorted(table.name for table in declared.tables if table.name not in chosen)
    extra = min(rng.choice((0, 0, 1, 1, 2)), max(_MOST_TABLES - wanted, 0), len(others))
    shown = {*chosen, *rng.sample(others, extra)}
    context = create_statements(declared)
    if len(context) > _WHOLE or rng.random() < 0.5:
        context = create_statements(declared, tables=shown)
    kind = "SQLite" if declared.engine == "sqlite" else "DuckDB"
    return Schema(name, f"The {kind} database {name}.", tuple(asked), context)


def _for_engine(draft: Draft, engine: Engine) -> Draft:
    """The draft's queries, which patterns write for SQLite, in the SQL of the engine."""
    if engine == "sqlite":
        return draft

    import sqlglot

    def translated(sql: str) -> str:
        if not sql:
            return sql
        tree = sqlglot.parse_one(sql, read="sqlite")
        for ordered in tree.find_all(sqlglot.exp.Ordered):
            # Else every ORDER BY would get a NULLS FIRST, which nobody asked for.
            ordered.set("nulls_first", False)
        return tree.sql(dialect=engine)

    return replace(
        draft,
        sql=f"{translated(draft.sql)};",
        differs_from=tuple(map(translated, draft.differs_from)),
        agrees_with=tuple(map(translated, draft.agrees_with)),
        sort_keys=translated(draft.sort_keys),
    )


def _neighbours(tables: Mapping[str, Table]) -> dict[str, set[str]]:
    near: dict[str, set[str]] = {name: set() for name in tables}
    for name, table in tables.items():
        for link in table.links:
            near[name].add(link.parent)
            near[link.parent].add(name)
    return near
