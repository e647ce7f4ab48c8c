"""All databases of a file of Spider questions, rows that name them, and what they are worth."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasft.data.files import read_file
from kerasft.data.spider import load_entries, schema_of
from kerasft.data.spider_databases.build import MUTANT_SECONDS, build_database, speaks
from kerasft.data.spider_databases.hardness import hardness
from kerasft.data.spider_databases.mutants import mutants
from kerasft.data.spider_databases.queries import parse
from kerasft.data.spider_databases.schema import Database, database_of
from kerasft.data.spider_databases.ties import cuts_through_tie
from kerasft.errors import DataError, collected
from kerasft.records import write_text
from kerasft.sql.lexical import ordered_outermost
from kerasft.sql.results import equal_results
from kerasft.sql.sandbox import Outcome, Sandbox

ROWS = "rows.jsonl"
FOLDER = "database"
_DB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass
class Report:
    """What the built databases are worth.

    Attributes:
        databases: how many.
        questions: rows; the next counts are of rows too.
        run: whose gold query runs.
        non_empty: whose gold result has a row.
        telling: whose gold result is more than NULLs or a single zero.
        tied: whose gold query has a LIMIT that keeps some of several rows of one rank.
        mutants: wrong queries near the gold ones that run in time, by what is wrong in them.
        told_apart: those whose result differs from gold's.
        rows: of all tables of all databases.
        difficulty: rows by Spider's hardness.
        failed: gold queries that do not run, with the reason.
    """

    databases: int = 0
    questions: int = 0
    run: int = 0
    non_empty: int = 0
    telling: int = 0
    tied: int = 0
    mutants: Counter[str] = field(default_factory=Counter)
    told_apart: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    difficulty: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the mutants that are told apart as a share by kind and in all."""
        kinds = {
            kind: {"queries": count, "told_apart": self.told_apart[kind]}
            for kind, count in sorted(self.mutants.items())
        }
        plain = {
            name: getattr(self, name)
            for name in ("databases", "questions", "run", "non_empty", "telling", "tied", "rows")
        }
        return {
            **plain,
            "difficulty": dict(sorted(self.difficulty.items())),
            "mutants": {
                "queries": self.mutants.total(),
                "told_apart": self.told_apart.total(),
                "kinds": kinds,
            },
            "failed": self.failed,
        }


def build_spider_databases(tables: Path, questions: Path, folder: Path, seed: int = 0) -> Report:
    """Build the database of every `db_id` of the questions, and rows to score a model on.

    `folder` gets `database/DB_ID/DB_ID.sqlite`, as Spider has them, and `rows.jsonl` with
    `question`, `context` (the schema as `kerasft.data.spider` gives it for training), `sql`,
    `difficulty`, `db_id` and `database`: the path of the file from the folder of `rows.jsonl`.

    Args:
        tables: Spider's `tables.json`.
        questions: rows of `db_id`, `question` and `query`: Spider's JSON, or JSON lines.
        seed: one seed gives the same databases.

    Raises:
        DataError: a file cannot be read, or rows of it cannot be used; all faults at once.
        RunError: the folder cannot be written.
        SqlError: the SQL worker could not be started.
    """
    entries = load_entries(tables)
    rows = _rows(questions, entries, str(tables))
    by_database: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_database.setdefault(row["db_id"], []).append(row)
    _check_schemas({db_id: entries[db_id] for db_id in by_database}, tables)
    report = Report(databases=len(by_database), questions=len(rows))
    with Sandbox() as sandbox:
        for db_id, own in by_database.items():
            path = folder / FOLDER / db_id / f"{db_id}.sqlite"
            queries = list(dict.fromkeys(row["sql"] for row in own))
            database = build_database(entries[db_id], queries, path, seed, sandbox)
            _measure(report, database, [row["sql"] for row in own], path, sandbox)
    written = []
    for row in rows:
        db_id = row["db_id"]
        difficulty = hardness(row["sql"]) or "unknown"
        report.difficulty[difficulty] += 1
        written.append(
            {
                "question": row["question"],
                "context": schema_of(entries[db_id]),
                "sql": row["sql"],
                "difficulty": difficulty,
                "db_id": db_id,
                "database": f"{FOLDER}/{db_id}/{db_id}.sqlite",
            }
        )
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in written)
    write_text(folder / ROWS, "".join(lines))
    return report


def _check_schemas(entries: Mapping[str, Mapping[str, Any]], tables: Path) -> None:
    """See that SQLite builds every schema, before the first database is filled for minutes.

    Raises:
        DataError: entries of `tables` are no schemas, all of them at once.
    """
    faults = []
    for db_id, entry in entries.items():
        try:
            database_of(entry)
            with closing(sqlite3.connect(":memory:")) as connection:
                connection.executescript(schema_of(entry))
        except sqlite3.Error as error:
            faults.append(f"{db_id}: SQLite does not build it: {error}")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            faults.append(f"{db_id}: {type(error).__name__} {error}")
    if faults:
        raise DataError(collected(f"{tables} has entries that are not Spider's", faults))


def _rows(
    questions: Path, entries: Mapping[str, Mapping[str, Any]], tables: str
) -> list[dict[str, str]]:
    faults: list[str] = []
    rows = []
    for record in read_file(questions, faults):
        values = record.values
        sql = next((values[k] for k in ("query", "sql") if isinstance(values.get(k), str)), None)
        db_id, question = values.get("db_id"), values.get("question")
        found = []
        if db_id not in entries:
            found.append(f"{tables} has no database {db_id!r}")
        elif not _DB_ID.fullmatch(db_id):
            found.append(f"{db_id!r} makes no file name")
        if not isinstance(question, str) or not question.strip():
            found.append("expected text in the column 'question'")
        if sql is None or not sql.strip():
            found.append("expected SQL in the column 'query' or 'sql'")
        faults += [f"{record.where}: {fault}" for fault in found]
        if not found:
            rows.append({"db_id": db_id, "question": question, "sql": sql})
    if faults:
        raise DataError(collected(f"{questions} has rows that cannot be used", faults))
    if not rows:
        raise DataError(f"{questions} has no rows; expected db_id, question and query")
    return rows


def _measure(
    report: Report, database: Database, queries: Sequence[str], path: Path, sandbox: Sandbox
) -> None:
    """Add to the report what the queries give on the file."""

    def run(sql: str) -> Outcome:
        return sandbox.run(sql, database=path)

    for table in database.tables.values():
        name = table.name.replace('"', '""')
        report.rows += run(f'SELECT COUNT(*) FROM "{name}"').rows[0][0]
    for sql, times in Counter(queries).items():
        gold = run(sql)
        if gold.status != "ok":
            report.failed.append(f"{database.db_id}: {sql}: {gold.message}")
            continue
        report.run += times
        report.non_empty += times * bool(gold.rows)
        report.telling += times * speaks(gold)
        tree = parse(sql)
        if tree is None:
            continue
        report.tied += times * cuts_through_tie(tree, run)
        for kind, mutant in mutants(tree, database):
            text = mutant.sql(dialect="sqlite")
            other = sandbox.run(text, database=path, seconds=MUTANT_SECONDS)
            if other.status == "ok":
                report.mutants[kind] += 1
                report.told_apart[kind] += not equal_results(
                    gold, other, ordered=ordered_outermost(sql)
                ).equal
