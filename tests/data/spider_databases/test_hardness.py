"""Spider's hardness from the text of a query, against its rules on Spider's own parse trees."""

import json
from collections import Counter
from pathlib import Path

import pytest

from kerasft.data.spider_databases.hardness import hardness


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT count(*) FROM a", "easy"),
        ("SELECT b FROM a WHERE c > 1", "easy"),
        ("SELECT b, d FROM a WHERE c > 1", "medium"),
        ("SELECT b FROM a JOIN e ON a.i = e.i WHERE c > 1", "medium"),
        ("SELECT b FROM a WHERE c LIKE 'x%' OR c = 1", "hard"),
        ("SELECT b FROM a WHERE c > (SELECT avg(c) FROM a)", "hard"),
        ("SELECT b FROM a INTERSECT SELECT b FROM d", "hard"),
        ("SELECT b FROM a JOIN e ON a.i = e.i GROUP BY b ORDER BY count(*) LIMIT 1", "extra"),
        ("SELECT b, c FROM a WHERE i NOT IN (SELECT i FROM e)", "extra"),
        ("this is no SQL at all (", None),
    ],
)
def test_classes(sql: str, expected: str | None) -> None:
    assert hardness(sql) == expected


def test_all_of_dev_agrees_with_the_rules_on_spiders_trees(shared_data: Path) -> None:
    path = shared_data / "spider" / "dev.json"
    if not path.is_file():
        pytest.skip("no Spider dev.json in ../shared/data")
    rows = json.loads(path.read_bytes())
    for row in rows:
        assert hardness(row["query"]) == _of_tree(row["sql"]), row["query"]
    # The shares that Spider's paper and leaderboard give for dev.
    counts = Counter(hardness(row["query"]) for row in rows)
    assert counts == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}


def _of_tree(tree: dict) -> str:
    """The published rules on the parse tree that Spider's rows carry."""
    clauses = tree["from"]["conds"], tree["where"], tree["having"]
    conditions = [each for clause in clauses for each in clause[::2]]
    joined = [word for clause in clauses for word in clause[1::2]]
    first = sum(bool(tree[name]) for name in ("where", "groupBy", "orderBy"))
    first += tree["limit"] is not None
    first += len(tree["from"]["table_units"]) - 1 + joined.count("or")
    first += sum(condition[1] == 9 for condition in conditions)
    second = sum(isinstance(value, dict) for each in conditions for value in each[3:5])
    second += sum(tree[name] is not None for name in ("intersect", "union", "except"))
    units = [*tree["select"][1], *tree["where"][::2], *tree["groupBy"], *tree["having"]]
    if tree["orderBy"]:
        units += [side for unit in tree["orderBy"][1] for side in unit[1:3] if side]
    aggregates = sum(isinstance(unit, str) or unit[0] != 0 for unit in units)
    lists = (tree["select"][1], tree["where"], tree["groupBy"])
    others = (aggregates > 1) + sum(len(each) > 1 for each in lists)
    if first <= 1 and others == 0 and second == 0:
        return "easy"
    if second == 0 and ((others <= 2 and first <= 1) or (first <= 2 and others < 2)):
        return "medium"
    if second == 0 and ((others > 2 and first <= 2) or (2 < first <= 3 and others <= 2)):
        return "hard"
    return "hard" if first <= 1 and others == 0 and second <= 1 else "extra"
