"""Verdicts of state-1 as a table."""

from collections.abc import Iterator, Sequence

import pytest

from kerasft.sql.sandbox import Sandbox
from kerasft.sql.schema import Row, TableState
from kerasft.sql.states import states_equal

Columns = tuple[tuple[str, str], ...]


def table(
    name: str = "t",
    columns: Columns = (("id", "INTEGER"), ("name", "TEXT")),
    rows: Sequence[Row] = (),
    constraints: Sequence[str] = (),
) -> TableState:
    return TableState(name, "table", columns, tuple(rows), tuple(constraints))


def view(
    name: str = "v", columns: Columns = (("id", "INTEGER"),), rows: Sequence[Row] = ()
) -> TableState:
    return TableState(name, "view", columns, tuple(rows))


KEYED = table(constraints=["primary key (id)"])


@pytest.mark.parametrize(
    ("gold", "predicted", "reason"),
    [
        ([], [], "equal"),
        ([table()], [table("T")], "equal"),
        ([table()], [], "tables"),
        ([], [table()], "tables"),
        ([table("v", (("id", "INTEGER"),))], [view()], "tables"),
        ([table("a"), table("b")], [table("b"), table("a")], "equal"),
        # Columns: names without case, places, types by affinity.
        ([table(columns=(("ID", "BIGINT"),))], [table(columns=(("id", "int"),))], "equal"),
        ([table(columns=(("a", "VARCHAR(9)"),))], [table(columns=(("a", "TEXT"),))], "equal"),
        ([table(columns=(("a", "DOUBLE"),))], [table(columns=(("a", "TEXT"),))], "columns"),
        ([table(columns=(("a", ""),))], [table(columns=(("a", "DATE"),))], "columns"),
        ([table(columns=(("a", "DECIMAL(9,2)"),))], [table(columns=(("a", "DATE"),))], "equal"),
        ([table()], [table(columns=(("name", "TEXT"), ("id", "INTEGER")))], "columns"),
        ([table()], [table(columns=(("id", "INTEGER"),))], "columns"),
        ([view()], [view(columns=(("id", "TEXT"),))], "equal"),
        ([view()], [view(columns=(("other", "INTEGER"),))], "columns"),
        # Rows: a bag with the tolerance of bag-1.
        ([table(rows=[(1, "a"), (2, "b")])], [table(rows=[(2, "b"), (1, "a")])], "equal"),
        ([table(rows=[(1, "a"), (1, "a")])], [table(rows=[(1, "a")])], "rows"),
        ([table(rows=[(0.1 + 0.2, None)])], [table(rows=[(0.3, None)])], "equal"),
        ([table(rows=[(1, "a")])], [table(rows=[("1", "a")])], "rows"),
        ([view(rows=[(1,)])], [view(rows=[(2,)])], "rows"),
        # Constraints.
        ([KEYED], [table()], "constraints"),
        ([table()], [KEYED], "constraints"),
        ([KEYED], [table(constraints=["not null (id)", 'PRIMARY KEY  ("id")'])], "equal"),
        ([KEYED], [table(constraints=["primary key (id)", "unique (id)"])], "equal"),
        ([KEYED], [table(constraints=["primary key (id)", "not null (name)"])], "constraints"),
        (
            [table(constraints=["unique (a, b)"])],
            [table(constraints=["unique index (a,b)"])],
            "equal",
        ),
        (
            [table(constraints=["unique (a)"])],
            [table(constraints=["unique index (a) where a > 1"])],
            "constraints",
        ),
        ([table(constraints=["check (id > 0)"])], [table(constraints=["check (id>0)"])], "equal"),
        (
            [table(constraints=["check (id > 0)"])],
            [table(constraints=["check (id > 1)"])],
            "constraints",
        ),
        (
            [table(constraints=["check (name = 'A b')"])],
            [table(constraints=["check (name = 'Ab')"])],
            "constraints",
        ),
        ([table(constraints=["default (id) 0"])], [table()], "constraints"),
        ([table()], [table(constraints=["index (name)"])], "equal"),
        ([table(constraints=["index (name)"])], [table()], "constraints"),
        ([table(constraints=["index (name)"])], [table(constraints=["index (id)"])], "constraints"),
    ],
)
def test_verdicts(gold: list[TableState], predicted: list[TableState], reason: str) -> None:
    verdict = states_equal(gold, predicted)
    assert (verdict.reason, verdict.equal) == (reason, reason == "equal")
    assert verdict.mode == "state-1"


def test_the_first_difference_is_the_reason() -> None:
    gold = [table(rows=[(1, "a")], constraints=["primary key (id)"])]
    assert states_equal(gold, [table(columns=(("id", "TEXT"),))]).reason == "columns"
    assert states_equal(gold, [table()]).reason == "rows"


def test_types_of_duckdb_count_by_name() -> None:
    gold, predicted = ([table(columns=(("a", kind),))] for kind in ("DATE", "BOOLEAN"))
    assert states_equal(gold, predicted).equal
    assert states_equal(gold, predicted, engine="duckdb").reason == "columns"
    assert states_equal(gold, [table(columns=(("a", "date"),))], engine="duckdb").equal


BEFORE = """
CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(9), price DOUBLE);
INSERT INTO t VALUES (1, 'a', 0.1), (2, 'b', 0.2);
"""


@pytest.fixture(scope="module", params=["sqlite", "duckdb"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if request.param == "duckdb":
        pytest.importorskip("duckdb", reason="needs the extra `duckdb`")
    with Sandbox(request.param) as own:
        yield own


@pytest.mark.parametrize(
    ("gold", "predicted", "reason"),
    [
        ("DELETE FROM t WHERE id = 1", "DELETE FROM t WHERE name = 'a'", "equal"),
        ("DELETE FROM t WHERE id = 1", "DELETE FROM t", "rows"),
        ("UPDATE t SET price = price + 0.2", "UPDATE t SET price = 0.2 + price", "equal"),
        ("UPDATE t SET price = 0.3 WHERE id = 1", "UPDATE t SET price = 0.1 + 0.2 WHERE id = 1",
         "equal"),
        ("INSERT INTO t VALUES (3, 'c', NULL)", "INSERT INTO t (name, id) VALUES ('c', 3)",
         "equal"),
        ("INSERT INTO t VALUES (3, 'c', NULL)", "INSERT INTO t VALUES (3, 'C', NULL)", "rows"),
        ("CREATE TABLE u (a INTEGER)", "create table U (A integer)", "equal"),
        ("CREATE TABLE u (a INTEGER)", "CREATE VIEW u AS SELECT id AS a FROM t WHERE 1 = 0",
         "tables"),
        ("CREATE TABLE u (a INTEGER)", "CREATE TABLE u (a VARCHAR)", "columns"),
        ("CREATE TABLE u (a INTEGER PRIMARY KEY)", "CREATE TABLE u (a INTEGER)", "constraints"),
        ("CREATE TABLE u (a INTEGER, PRIMARY KEY (a))", "CREATE TABLE u (a INTEGER PRIMARY KEY)",
         "equal"),
        ("CREATE TABLE u (a INTEGER CHECK (a > 0))", "CREATE TABLE u (a INTEGER, CHECK (a>0))",
         "equal"),
        ("CREATE TABLE u (a INTEGER UNIQUE)",
         "CREATE TABLE u (a INTEGER); CREATE UNIQUE INDEX one ON u (a)", "equal"),
        ("CREATE INDEX one ON t (name)", "CREATE INDEX other ON t (name)", "equal"),
        ("CREATE INDEX one ON t (name)", "CREATE INDEX one ON t (price)", "constraints"),
        ("ALTER TABLE t ADD COLUMN age INTEGER", "ALTER TABLE t ADD age INTEGER", "equal"),
        ("ALTER TABLE t RENAME COLUMN name TO label", "SELECT 1", "columns"),
        ("CREATE TABLE u (a INTEGER); DROP TABLE t", "CREATE TABLE u (a INTEGER)", "tables"),
    ],
)  # fmt: skip
def test_scripts_are_compared_by_what_they_leave(
    sandbox: Sandbox, gold: str, predicted: str, reason: str
) -> None:
    outcomes = [sandbox.run(sql, context=BEFORE, writes=True) for sql in (gold, predicted)]
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
    states = [outcome.state for outcome in outcomes]
    assert states_equal(*states, engine=sandbox.engine).reason == reason
