"""The modes side by side, on verdicts that the official evaluators gave.

The columns `spider` and `bird` of `CASES` were observed by running `eval_exec_match` of
taoyds/test-suite-sql-eval (commit e97acc5, default options) and `execute_sql` with
`calculate_ex` of bird-bench/mini_dev (commit 4d970a9) on `DATABASE`; none was reasoned out.
"""

from collections.abc import Iterator

import pytest

from kerasft.sql.modes import MODES, Gold
from kerasft.sql.results import Verdict
from kerasft.sql.sandbox import Outcome, Sandbox
from kerasft.sql.schema import BadText

DATABASE = """
CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 1.5), (2, 'x'), (2, 'x');
CREATE TABLE e (a);
"""
CASES = [  # gold, prediction, spider, bird, bag
    # Numbers, text and NULL.
    ("select 1", "select 1.0", 1, 1, 1),
    ("select 1", "select '1'", 0, 0, 0),
    ("select 'a'", "select 'A'", 0, 0, 0),
    ("select x'61'", "select 'a'", 0, 0, 0),
    ("select 0.1 + 0.2", "select 0.3", 0, 0, 1),
    ("select 0.0", "select -0.0", 1, 1, 1),
    ("select 1e999", "select 9e999", 1, 1, 1),
    ("select 9007199254740993", "select 9007199254740993.0", 0, 0, 1),
    ("select null", "select null", 1, 1, 1),
    ("select cast(x'ff61' as text)", "select 'a'", 1, 0, 0),
    ("select cast(x'ff61' as text)", "select cast(x'ff61' as text)", 1, 0, 1),
    # The order in which cells are written out spoils numbers that are equal.
    ("select 1, 1.5", "select 1.0, 1.5", 0, 1, 1),
    ("select 1.5, 1", "select 1, 1.5", 1, 0, 0),
    # Columns.
    ("select a, b from t", "select b, a from t", 1, 0, 0),
    ("select a, b from t order by a", "select b, a from t order by a", 1, 0, 0),
    ("select 1, 2 union all select 3, 4", "select 2, 1 union all select 3, 4", 0, 0, 0),
    ("select 1, 2, 2", "select 2, 1, 2", 1, 0, 0),
    ("select 1, 1, 2", "select 2, 1, 2", 0, 0, 0),
    ("select a, a from t", "select a, b from t", 0, 0, 0),
    ("select 1", "select 1, 1", 0, 0, 0),
    # Duplicates and DISTINCT.
    ("select 1 union all select 1", "select 1", 0, 1, 0),
    ("select distinct a from t", "select a from t", 1, 1, 0),
    ("select count(distinct a) from t", "select count(a) from t", 1, 0, 0),
    ("select 'distinct'", "select 'x'", 0, 0, 0),
    ('select a as "distinct" from t', "select a from t", 1, 1, 1),
    # Order.
    ("select a from t order by a", "select a from t order by a desc", 0, 1, 0),
    ("select a from t order  by a", "select a from t order by a desc", 1, 1, 0),
    (
        "select a from t where a in (select a from t order by a)",
        "select a from t order by a desc",
        0,
        1,
        1,
    ),
    ("select 'order by' from t where a > 1", "select 'order by' from t where a > = 2", 1, 0, 0),
    ("select a from t order by a limit 1", "select min(a) from t", 1, 1, 1),
    # Empty results.
    ("select 1 where 0", "select 1, 2, 3 where 0", 1, 1, 0),
    ("select a from e", "select a from t", 0, 0, 0),
    # What is rewritten before it runs.
    ("select 2020", "select YEAR(CURDATE())", 1, 0, 0),
    ("select 2020 as y", "select YEAR(CURDATE()) as y", 0, 0, 0),
    ("select 1; select 2", "select 1", 1, 0, 0),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as own:
        yield own


def verdicts(sandbox: Sandbox, gold: str, predicted: str) -> dict[str, Verdict]:
    found = {}
    for name, mode in MODES.items():
        outcomes = [sandbox.run(mode.prepare(sql), context=DATABASE) for sql in (gold, predicted)]
        found[name] = mode.compare(*outcomes, Gold(gold))
    return found


@pytest.mark.parametrize(("gold", "predicted", "spider", "bird", "bag"), CASES)
def test_official_verdicts(
    sandbox: Sandbox, gold: str, predicted: str, spider: int, bird: int, bag: int
) -> None:
    found = verdicts(sandbox, gold, predicted)
    assert list(found) == ["bag-1", "spider-1", "bird-1"]
    assert [verdict.mode for verdict in found.values()] == list(found)
    equal = {name: int(verdict.equal) for name, verdict in found.items()}
    assert equal == {"spider-1": spider, "bird-1": bird, "bag-1": bag}


@pytest.mark.parametrize(
    ("predicted", "status"),
    [
        ("", "no_sql"),  # there: Spider's evaluator stops with IndexError, BIRD's says equal
        ("-- nothing", "no_sql"),  # there: equal
        ("drop table t", "refused"),  # there: equal, and the table is gone from the file
        ("delete from t", "refused"),  # there: equal
        ("create temp table q (a)", "refused"),  # there: equal
        ("pragma user_version = 7", "refused"),  # there: equal, and written to the file
    ],
)
def test_what_gives_no_result_is_not_an_empty_result(
    sandbox: Sandbox, predicted: str, status: str
) -> None:
    assert sandbox.run(predicted, context=DATABASE).status == status
    found = verdicts(sandbox, "select a from e", predicted)
    assert {verdict.reason for verdict in found.values()} == {"not_comparable"}


@pytest.mark.parametrize(
    ("gold", "predicted", "mode", "reason"),
    [
        ("select 1 order by 1", "select 1, 2", "spider-1", "columns"),
        ("select 1 order by 1", "select 2", "spider-1", "rows"),
        ("select a from t order by a", "select a from t order by 1 desc", "spider-1", "order"),
        ("select a from t order by a", "select a from t limit 1", "spider-1", "rows"),
        ("select 1", "select 1, 2", "bird-1", "columns"),
        ("select 1", "select 1, 2 where 0", "bird-1", "rows"),
        ("select 1", "select 2", "bird-1", "rows"),
        ("select 1", "select nothing", "bird-1", "not_comparable"),
        ("select nothing", "select 1", "spider-1", "not_comparable"),
    ],
)
def test_reasons(sandbox: Sandbox, gold: str, predicted: str, mode: str, reason: str) -> None:
    assert verdicts(sandbox, gold, predicted)[mode].reason == reason


@pytest.mark.parametrize(
    ("sql", "prepared"),
    [
        ("SELECT DISTINCT a FROM t", "SELECT  a FROM t"),
        ("SELECT count(distinct a)", "SELECT count( a)"),
        (
            "SELECT 'distinct', \"distinct\", [distinct]",
            "SELECT 'distinct', \"distinct\", [distinct]",
        ),
        ("SELECT a /* distinct */ -- distinct", "SELECT a /* distinct */ -- distinct"),
        ("SELECT a > = 1, a < = 2, a ! = 3, a >  = 1", "SELECT a >= 1, a <= 2, a != 3, a >  = 1"),
        ("SELECT year ( CURDATE( ) )  + 1", "SELECT 2020+ 1"),
        ("SELECT ';' ; DROP TABLE t", "SELECT ';' ;"),
    ],
)
def test_what_spider_rewrites(sql: str, prepared: str) -> None:
    assert MODES["spider-1"].prepare(sql) == prepared
    assert MODES["bag-1"].prepare(sql) == MODES["bird-1"].prepare(sql) == sql


def test_equal_columns_do_not_make_permutations_endless() -> None:
    """30 columns with the same bag of values, in which no order fits."""
    width = 30
    gold = [tuple(int(i == j) for i in range(width)) for j in range(width)]
    gold += [(1,) * 2 + (0,) * (width - 2), (0,) * (width - 2) + (1,) * 2]
    other = [*gold[:width], (1,) * 2 + (0,) * (width - 2), (0, 1, 1) + (0,) * (width - 3)]
    same = [row[::-1] for row in gold]
    columns = tuple(f"c{i}" for i in range(width))

    def compare(rows: list[tuple]) -> Verdict:
        outcomes = [Outcome("ok", columns=columns, rows=tuple(some)) for some in (gold, rows)]
        return MODES["spider-1"].compare(*outcomes, Gold("select 1"))

    assert compare(same).equal
    assert not compare(other).equal


def test_bytes_that_are_no_text_are_left_out_by_spider_and_refused_by_bird() -> None:
    bad = Outcome("ok", columns=("a",), rows=((BadText(b"\xffa"),),))
    good = Outcome("ok", columns=("a",), rows=(("a",),))
    assert MODES["spider-1"].compare(bad, good, Gold("select 1")).equal
    assert MODES["bird-1"].compare(bad, bad, Gold("select 1")).reason == "not_comparable"
