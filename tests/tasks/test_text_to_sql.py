"""How answers are judged, on small databases and on gretel's real rows."""

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kerasft.tasks import TASKS
from kerasft.tasks.row_databases import Databases
from kerasft.tasks.text_to_sql import Judgement, score, summarise

CONTEXT = """CREATE TABLE singer (id INT, name TEXT, age INT);
INSERT INTO singer VALUES (1, 'Ann', 30), (2, 'Bo', 25), (3, 'Cy', 25);"""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with Databases() as databases:
        yield databases


def judge(databases: Databases, gold: str, answer: str, context: str = CONTEXT) -> Judgement:
    row = {"question": "?", "context": context, "sql": gold}
    (judgement,) = score([row], [answer], databases=databases)
    return judgement


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("SELECT name FROM singer", "```sql\nSELECT T1.name FROM singer AS T1;\n```", "match"),
        ("SELECT name FROM singer", "SELECT name FROM singer ORDER BY name DESC", "match"),
        (
            "SELECT name FROM singer ORDER BY id",
            "SELECT name FROM singer ORDER BY -id",
            "wrong_order",
        ),
        # Bo and Cy tie, and the two queries put them differently
        (
            "SELECT name FROM singer ORDER BY age",
            "SELECT name FROM singer ORDER BY age, -id",
            "match",
        ),
        (
            "SELECT name FROM singer ORDER BY age",
            "SELECT name FROM singer ORDER BY -age",
            "wrong_order",
        ),
        ("SELECT name FROM singer", "SELECT name FROM singer WHERE id > 1", "wrong_rows"),
        ("SELECT name FROM singer", "SELECT name, id FROM singer", "wrong_columns"),
        ("SELECT name FROM singer", "SELECT nam FROM singer", "missing_column"),
        ("SELECT name FROM singer", "I do not know", "no_sql"),
        ("SELECT name FROM singer", "", "no_sql"),
        ("SELECT name FROM singer", "DROP TABLE singer", "refused"),
        ("SELECT nam FROM singer", "SELECT name FROM singer", "gold_error"),
        ("SELECT name FROM singer", "SELECT name FROM sing", "missing_table"),
        ("SELECT name FROM singer", "SELECT name FORM singer GROUP", "syntax_error"),
        ("SELECT name FROM singer", "SELECT foo(name) FROM singer", "invalid_sql"),
        ("SELECT name FROM singer", "SELECT load_extension('x')", "refused"),
    ],
)
def test_status(databases: Databases, gold: str, answer: str, status: str) -> None:
    judgement = judge(databases, gold, answer)
    assert judgement.status == status
    expected = None if status == "gold_error" else status == "match"
    assert judgement.execution_match is expected


def test_the_text_scores_differ_in_what_they_forgive(databases: Databases) -> None:
    gold = "SELECT name FROM singer WHERE age > 25;"
    same = judge(databases, gold, f"\n{gold}\n")
    assert (same.raw_exact_match, same.exact_match) == (True, True)
    typed = judge(databases, gold, "select NAME from singer where age>25")
    assert (typed.raw_exact_match, typed.exact_match, typed.execution_match) == (False, True, True)
    other = judge(databases, gold, "SELECT name FROM singer WHERE id = 1")
    assert (other.exact_match, other.execution_match, other.valid_sql) == (False, True, True)
    nothing = judge(databases, gold, "")
    assert (nothing.predicted_sql, nothing.exact_match, nothing.valid_sql) == (None, False, False)


def test_a_broken_context_is_nobody_s_wrong_answer(databases: Databases) -> None:
    judgement = judge(databases, "SELECT 1", "SELECT 1", context="CREATE TABLE t (a); SELECT")
    assert (judgement.status, judgement.gold_status) == ("context_error", "context_error")
    assert (judgement.valid_sql, judgement.execution_match) == (None, None)
    assert "incomplete" in judgement.message or "syntax" in judgement.message
    summary = summarise([judgement])
    assert (summary["context_errors"], summary["gold_errors"]) == (1, 0)
    assert summary["valid_sql"]["of"] == summary["execution_accuracy"]["of"] == 0


def test_an_empty_gold_result_is_flagged(databases: Databases) -> None:
    judgement = judge(
        databases, "SELECT id FROM singer WHERE id > 9", "SELECT id FROM singer WHERE 0"
    )
    assert (judgement.execution_match, judgement.gold_empty) == (True, True)


def test_no_answer_touches_the_next(databases: Databases) -> None:
    row: dict[str, Any] = {
        "question": "?",
        "context": CONTEXT,
        "sql": "SELECT count(*) FROM singer",
    }
    answers = [
        "CREATE TEMP TABLE singer AS SELECT * FROM singer WHERE 0",
        "DELETE FROM singer",
        "PRAGMA query_only = OFF",
        "SELECT 3",
    ]
    statuses = [judgement.status for judgement in score([row] * 4, answers, databases=databases)]
    assert statuses == ["refused", "refused", "refused", "match"]


def test_summary_states_its_denominators() -> None:
    rows = [
        {"question": "?", "context": CONTEXT, "sql": sql, "difficulty": difficulty}
        for sql, difficulty in [
            ("SELECT name FROM singer", "easy"),
            ("SELECT name FROM singer", "easy"),
            ("SELECT name FROM singer WHERE id > 9", "hard"),
            ("SELECT nam FROM singer", "hard"),
        ]
    ]
    judgements = score(rows, ["SELECT name FROM singer", "SELECT 1", "SELECT 'x' WHERE 0", ""])
    summary = summarise(judgements)
    counts = {
        name: (rate["count"], rate["of"])
        for name, rate in summary.items()
        if isinstance(rate, dict) and "of" in rate
    }
    assert counts == {
        "execution_accuracy": (2, 3),
        "execution_accuracy_spider": (2, 3),
        "execution_accuracy_bird": (2, 3),
        "execution_accuracy_non_empty": (1, 2),
        "exact_match": (1, 4),
        "raw_exact_match": (1, 4),
        "valid_sql": (3, 4),
    }
    assert (summary["gold_errors"], summary["gold_empty"], summary["rows"]) == (1, 1, 4)
    assert summary["status"] == {"match": 2, "wrong_rows": 1, "gold_error": 1}
    assert summary["result_modes"] == ["bag-1", "spider-1", "bird-1"]
    assert summary["by_difficulty"]["easy"]["execution_accuracy"]["of"] == 2
    json.dumps([summary, *map(asdict, judgements)])


def test_one_answer_a_row() -> None:
    with pytest.raises(ValueError, match="1 rows, but 0 answers"):
        score([{"question": "?", "context": "", "sql": ""}], [])


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_what_the_registry_promises(name: str) -> None:
    task = TASKS[name]
    assert set(task.PROMPT_COLUMNS) | {task.COMPLETION_COLUMN} == set(task.COLUMNS)
    assert not set(task.OPTIONAL_COLUMNS) & set(task.COLUMNS)
    assert task.summarise(task.score([], []))["rows"] == 0
    fields = {field.name: field.type for field in dataclasses.fields(task.Judgement)}
    assert {*task.PAIRED, *task.GROUPS} <= fields.keys()
    assert all("bool" in str(fields[name]) for name in task.PAIRED)


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("DELETE FROM singer WHERE age = 25", "delete from singer where id > 1;", "match"),
        ("DELETE FROM singer WHERE age = 25", "DELETE FROM singer WHERE id = 3", "wrong_state"),
        ("DELETE FROM singer WHERE age = 25", "SELECT * FROM singer", "wrong_state"),
        ("DELETE FROM singer WHERE age = 25", "DELETE FROM sing", "missing_table"),
        ("DELETE FROM singer WHERE age = 25", "DELETE FROM singer WHERE ag = 25", "missing_column"),
        ("DELETE FROM singer WHERE age = 25", "no idea", "no_sql"),
        ("DELETE FROM singer WHERE age = 25", "ATTACH 'x' AS y", "refused"),
        ("DELETE FROM sing", "DELETE FROM singer", "gold_error"),
        ("UPDATE singer SET age = age + 1", "UPDATE singer SET age = 1 + age", "match"),
        ("INSERT INTO singer VALUES (4, 'Di', 1)", "INSERT INTO singer SELECT 4, 'Di', 1", "match"),
        ("INSERT INTO singer VALUES (4, 'Di', 1)", "INSERT INTO singer VALUES (4)", "invalid_sql"),
        ("CREATE TABLE s (a INT, b TEXT)", "CREATE TABLE S (a INTEGER, b VARCHAR(9))", "match"),
        ("CREATE TABLE s (a INT, b TEXT)", "CREATE TABLE s (b TEXT, a INT)", "wrong_state"),
        ("ALTER TABLE singer DROP COLUMN age", "ALTER TABLE singer DROP age", "match"),
        ("DROP TABLE singer", "DROP TABLE IF EXISTS singer", "match"),
        ("DROP TABLE singer", "DELETE FROM singer", "wrong_state"),
        ("SELECT name FROM singer", "DELETE FROM singer", "refused"),
        # a script against a script, and against its first half
        (
            "INSERT INTO singer (id) VALUES (4); INSERT INTO singer (id) VALUES (5);",
            "```sql\nINSERT INTO singer (id) VALUES (5);\nINSERT INTO singer (id) VALUES (4)\n```",
            "match",
        ),
        (
            "INSERT INTO singer (id) VALUES (4); INSERT INTO singer (id) VALUES (5);",
            "INSERT INTO singer (id) VALUES (4);",
            "wrong_state",
        ),
    ],
)
def test_gold_that_writes_is_judged_by_what_it_leaves(
    databases: Databases, gold: str, answer: str, status: str
) -> None:
    judgement = judge(databases, gold, answer)
    assert judgement.status == status
    judged = gold != "DELETE FROM sing"
    assert judgement.execution_match is ((status == "match") if judged else None)
    assert judgement.execution_match_spider is None or gold.startswith("SELECT")


def test_the_state_says_what_differs(databases: Databases) -> None:
    wrong = judge(databases, "DELETE FROM singer", "DELETE FROM singer WHERE id = 1")
    assert "rows" in wrong.message
    assert not wrong.gold_empty
    assert judge(databases, "DELETE FROM singer WHERE id > 9", "SELECT 1").gold_empty


def test_what_runs_on_and_on_is_valid_sql_that_does_not_match() -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    answers = [f"{numbers} SELECT count(*) FROM n", f"{numbers} SELECT i FROM n"]
    row = {"question": "?", "context": CONTEXT, "sql": "SELECT 1"}
    with Databases(seconds=0.5) as hurried:
        judgements = score([row] * 2, answers, databases=hurried)
    assert [each.status for each in judgements] == ["timeout", "too_many_rows"]
    assert [(each.valid_sql, each.execution_match) for each in judgements] == [(True, False)] * 2


@pytest.mark.parametrize(
    ("row", "task_type", "difficulty"),
    [
        ({"sql": "WITH x AS (SELECT 1) SELECT * FROM x"}, "read", None),
        ({"sql": "INSERT INTO t VALUES (1)"}, "write", None),
        ({"sql": "DROP TABLE t", "difficulty": "easy"}, "schema", "easy"),
        (
            {"sql": "SELECT 1", "sql_task_type": "analytics", "sql_complexity": "basic SQL"},
            "analytics",
            "basic SQL",
        ),
    ],
)
def test_groups_are_the_row_s_own_or_read_off_its_gold(
    row: dict[str, str], task_type: str, difficulty: str | None
) -> None:
    (judgement,) = score([{"question": "?", "context": "", **row}], [""])
    assert (judgement.task_type, judgement.difficulty) == (task_type, difficulty)


def test_the_modes_stand_side_by_side(databases: Databases) -> None:
    """Duplicates lost: only BIRD's sets forgive. Columns swapped: only Spider does."""

    def matches(gold: str, answer: str) -> list[bool | None]:
        judgement = judge(databases, gold, answer)
        return [
            judgement.execution_match,
            judgement.execution_match_spider,
            judgement.execution_match_bird,
        ]

    assert matches("SELECT age FROM singer", "SELECT age FROM singer GROUP BY age") == [
        False,
        False,
        True,
    ]
    assert matches("SELECT id, name FROM singer", "SELECT name, id FROM singer") == [
        False,
        True,
        False,
    ]
    permuted = judge(databases, "SELECT id, name FROM singer", "SELECT name, id FROM singer")
    assert (permuted.status, permuted.permuted_columns) == ("wrong_rows", True)


def test_another_dialect_than_sqlite_s_is_translated_for_the_gold_s_sake(
    databases: Databases,
) -> None:
    context = "CREATE TABLE s.t (id INT AUTO_INCREMENT PRIMARY KEY, d DATE) ENGINE=InnoDB; "
    context += "INSERT INTO s.t (d) VALUES ('2020-02-03'), ('2021-02-03');"
    gold = "SELECT id FROM s.t WHERE YEAR(d) = 2020"
    same = judge(databases, gold, "SELECT id FROM s.t WHERE YEAR(d) < 2021", context)
    assert (same.status, same.gold_translated, same.valid_sql) == ("match", True, True)
    assert judge(databases, gold, "SELECT id FROM t WHERE id = 1", context).status == "match"
    # Where the gold SQL is SQLite's, the answer has to be.
    gold = "SELECT id FROM t WHERE d < '2021'"
    other = judge(databases, gold, "SELECT id FROM t WHERE YEAR(d) < 2021", context)
    assert (other.status, other.gold_translated, other.valid_sql) == ("invalid_sql", False, False)


def test_a_context_that_says_more_than_sqlite_knows_is_counted(databases: Databases) -> None:
    context = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB; "
    context += "CREATE PROCEDURE p() SELECT 1;"
    judgement = judge(databases, "SELECT * FROM t", "SELECT * FROM t", context)
    assert (judgement.status, judgement.context_skipped) == ("match", 1)
    assert summarise([judgement])["contexts_cut"] == 1
    # Where the gold SQL needs what was left out, there is nothing to judge by.
    cut = judge(databases, "SELECT * FROM u", "SELECT * FROM t", context + " CREATE TABLE u (a")
    assert (cut.status, cut.gold_status, cut.valid_sql) == ("context_error", "invalid_sql", None)


def test_a_database_file_is_used_instead_of_the_context(
    databases: Databases, tmp_path: Path
) -> None:
    path = tmp_path / "songs #1.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE song (id INT); INSERT INTO song VALUES (7);")
    row = {"question": "?", "context": CONTEXT, "sql": "SELECT id FROM song", "database": str(path)}
    write = {**row, "sql": "DELETE FROM song"}
    missing = {**row, "database": str(tmp_path / "none.sqlite")}
    rows = [row, row, write, row, missing]
    answers = ["SELECT 7", "SELECT id FROM singer", "DELETE FROM song", "SELECT id FROM song", ""]
    judgements = score(rows, answers, databases=databases)
    assert [each.status for each in judgements] == [
        "match",
        "missing_table",
        "match",
        "match",
        "context_error",
    ]
    assert "none.sqlite does not exist" in judgements[-1].message


def test_a_duckdb_file_is_judged_by_duckdb(databases: Databases, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "songs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE song (id INT, title TEXT, made DATE)")
        connection.execute("INSERT INTO song VALUES (1, 'a', '2020-01-02'), (2, 'b', '2021-01-02')")
    cases = [
        ("SELECT title FROM song WHERE year(made) = 2020", "SELECT title FROM song WHERE id = 1"),
        ("SELECT title FROM song ORDER BY id DESC", "SELECT title FROM song ORDER BY id"),
        ("SELECT title FROM song", "SELECT name FROM song"),
        ("SELECT title FROM song", "SELECT title FROM songs"),
        ("SELECT title FROM song", "SELECT title FROM"),
        ("SELECT title FROM song", "SELECT nope(title) FROM song"),
        ("SELECT title FROM song", "SELECT * FROM read_csv('/etc/passwd')"),
        ("DELETE FROM song WHERE id = 1", "DELETE FROM song WHERE title = 'a'"),
        ("DELETE FROM song WHERE id = 1", "DELETE FROM song"),
    ]
    rows = [
        {"question": "?", "context": "", "sql": gold, "database": str(path)} for gold, _ in cases
    ]
    judgements = score(rows, [answer for _, answer in cases], databases=databases)
    assert [each.status for each in judgements] == [
        "match",
        "wrong_order",
        "missing_column",
        "missing_table",
        "syntax_error",
        "invalid_sql",
        "refused",
        "match",
        "wrong_state",
    ]
    assert judgements[0].exact_match is False
    assert all(each.gold_status == "ok" for each in judgements)


def test_gretel_s_gold_queries_match_themselves(shared_data: Path) -> None:
    """500 real rows: 448 run in SQLite, 53 of them as translated, 32 of them write.

    The other 52 name tables or columns that their context does not have, use what SQLite has
    no counterpart of, or are wrong.
    """
    path = shared_data / "gretel" / "gretel_500_rows.jsonl"
    if not path.is_file():
        pytest.skip("no gretel rows at ../shared/data/gretel")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    named = {"question": "sql_prompt", "context": "sql_context"}
    rows = [{**row, **{to: row[name] for to, name in named.items()}} for row in rows]
    judgements = score(rows, [row["sql"] for row in rows])
    summary = summarise(judgements)
    # SQLite's versions differ in which functions they have.
    for name in ("execution_accuracy", "execution_accuracy_spider", "execution_accuracy_bird"):
        assert summary[name]["of"] >= (430 if name == "execution_accuracy" else 400)
        assert summary[name]["count"] == summary[name]["of"]
    assert summary["exact_match"]["rate"] == summary["raw_exact_match"]["rate"] == 1.0
    assert 355 <= summary["execution_accuracy_non_empty"]["of"] <= 385
    assert summary["context_errors"] <= 5
    assert 40 <= summary["gold_translated"] <= 65
    matched = [each for each in judgements if each.execution_match]
    assert 28 <= sum(each.execution_match_bird is None for each in matched) <= 35
    assert set(summary["by_task_type"]) == {row["sql_task_type"] for row in rows}
    assert set(summary["by_difficulty"]) == {row["sql_complexity"] for row in rows}
