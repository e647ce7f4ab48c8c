"""The questions of examples/chinook: each runs, gives rows, and is as hard as it says."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sqlglot import exp, parse_one

from kerasft.sql.lexical import ordered_outermost
from kerasft.sql.sandbox import Sandbox

FOLDER = Path(__file__).parents[1] / "examples" / "chinook"
ROWS = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text("utf-8").splitlines()]
ORDERED = re.compile(r"first hired|highest|most\b|order|longest tracks on|longest track\?")
"""In a question that asks for rows in an order, or for the first ones of it."""

FAMOUS = "Name the top 10 albums with the highest sales amount."


@pytest.fixture(scope="module")
def outcome_of(shared_data):
    """Runs a query on Chinook, behind the wall."""
    database = shared_data / "chinook" / "Chinook_Sqlite.sqlite"
    if not database.is_file():
        pytest.skip("no Chinook_Sqlite.sqlite among the data sets")
    with Sandbox() as sandbox:
        yield lambda sql: sandbox.run(sql, database=database)


def difficulty(sql: str) -> str:
    """By the rule of examples/chinook/README.md."""
    tree = parse_one(sql, read="sqlite")
    clauses = (exp.Join, exp.Where, exp.Group, exp.Having, exp.Order)
    points = sum(len(list(tree.find_all(clause))) for clause in clauses)
    points += 2 * (len(list(tree.find_all(exp.Select))) - 1)
    if points <= 1:
        return "easy"
    return "medium" if points <= 3 else "hard" if points <= 5 else "extra"


def test_forty_different_questions_of_four_difficulties():
    assert len({row["question"] for row in ROWS}) == len({row["sql"] for row in ROWS}) == 40
    assert FAMOUS in {row["question"] for row in ROWS}
    assert [row["difficulty"] for row in ROWS] == [difficulty(row["sql"]) for row in ROWS]
    told = (FOLDER / "README.md").read_text("utf-8")
    for level, count in Counter(row["difficulty"] for row in ROWS).items():
        (line,) = (line for line in told.splitlines() if line.startswith(f"| {level} |"))
        assert line.endswith(f"| {count} |")


@pytest.mark.parametrize("row", ROWS, ids=[row["question"][:40] for row in ROWS])
def test_a_query_gives_rows_in_an_order_that_its_data_decide(row, outcome_of):
    outcome = outcome_of(row["sql"])
    assert outcome.status == "ok", outcome.message
    assert outcome.rows and any(cell is not None for cell in outcome.rows[0])
    tree = parse_one(row["sql"], read="sqlite")
    order = tree.args.get("order")
    assert ordered_outermost(row["sql"]) == (order is not None)
    assert (ORDERED.search(row["question"]) is None) == (order is None)
    if order is None:
        return
    (key,) = order.expressions
    limit = tree.args.pop("limit", None)
    keyed = tree.select(exp.alias_(key.this.copy(), "order_key"))
    keys = [found[-1] for found in outcome_of(keyed.sql("sqlite")).rows]
    descending = bool(key.args.get("desc"))
    assert keys == sorted(keys, reverse=descending)
    if limit is not None:
        kept = int(limit.expression.this)
        assert len(outcome.rows) == kept < len(keys)
        assert keys[kept - 1] != pytest.approx(keys[kept])  # else another result were as right


def test_the_famous_question(outcome_of):
    (row,) = (row for row in ROWS if row["question"] == FAMOUS)
    assert outcome_of(row["sql"]).rows[0] == ("Battlestar Galactica (Classic), Season 1",)
