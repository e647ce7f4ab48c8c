"""How answers are judged, on small databases and on gretel's real rows."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kerasft.tasks import TASKS
from kerasft.tasks.row_databases import Databases
from kerasft.tasks.text_to_sql import COLUMNS, Judgement, score, summarise

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
        ("DELETE FROM singer", "DELETE FROM singer", "gold_error"),
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
    judgement = judge(databases, "SELECT 1", "SELECT 1", context="CREATE SCHEMA x; SELECT")
    assert (judgement.status, judgement.gold_status) == ("context_error", "context_error")
    assert (judgement.valid_sql, judgement.execution_match) == (None, None)
    assert "SCHEMA" in judgement.message


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


def test_gretel_s_gold_queries_match_themselves(shared_data: Path) -> None:
    """500 real rows: 395 run in plain SQLite, 34 of them write, which is refused here."""
    path = shared_data / "gretel" / "gretel_500_rows.jsonl"
    if not path.is_file():
        pytest.skip("no gretel rows at ../shared/data/gretel")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = ("sql_prompt", "sql_context", "sql")
    rows = [{to: row[name] for to, name in zip(COLUMNS, names, strict=True)} for row in rows]
    judgements = score(rows, [row["sql"] for row in rows])
    summary = summarise(judgements)
    accuracy = summary["execution_accuracy"]
    # SQLite's versions differ in which functions they have.
    assert 350 <= accuracy["of"] <= 400
    assert accuracy["count"] == accuracy["of"]
    assert summary["exact_match"]["rate"] == summary["raw_exact_match"]["rate"] == 1.0
    assert 295 <= summary["execution_accuracy_non_empty"]["of"] <= 320
    assert 25 <= sum(judgement.gold_status == "refused" for judgement in judgements) <= 40
