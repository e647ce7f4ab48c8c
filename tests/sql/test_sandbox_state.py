"""Schemas, plans, and the state of a database after a script that wrote, on SQLite."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerasft.errors import SqlError
from kerasft.sql.sandbox import Outcome, Sandbox
from kerasft.sql.schema import Column, ForeignKey, TableState

CONTEXT = """
CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INT DEFAULT 3
    CHECK (age > 0));
CREATE TABLE "b c" (x INT REFERENCES a, y, "z ü" DECIMAL(10,2), PRIMARY KEY (y, x),
    CONSTRAINT two FOREIGN KEY (x, y) REFERENCES a (id, name) ON DELETE CASCADE);
CREATE INDEX by_age ON a (age DESC, "name");
CREATE UNIQUE INDEX young ON a (age) WHERE age > 90;
CREATE VIEW v AS SELECT id, 2 * age AS twice FROM a;
CREATE TRIGGER log AFTER DELETE ON a BEGIN INSERT INTO "b c" VALUES (old.id, 'x', 1); END;
INSERT INTO a VALUES (1, 'x', 2), (2, 'y', 5);
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def write(sandbox: Sandbox, sql: str, **options) -> Outcome:
    return sandbox.run(sql, context=CONTEXT, writes=True, **options)


def tables(outcome: Outcome) -> dict[str, TableState]:
    assert outcome.status == "ok", outcome
    return {table.name: table for table in outcome.state}


def test_a_schema_has_columns_and_keys(sandbox: Sandbox) -> None:
    schema = sandbox.schema(context=CONTEXT)
    assert schema.engine == "sqlite"
    first, second, view = schema.tables
    assert (first.name, first.kind) == ("a", "table")
    assert first.columns == (
        Column("id", "INTEGER", primary_key=1),
        Column("name", "TEXT", not_null=True),
        Column("age", "INT"),
    )
    assert second.columns == (
        Column("x", "INT", primary_key=2),
        Column("y", "", primary_key=1),
        Column("z ü", "DECIMAL(10,2)"),
    )
    # A key without columns means the primary key.
    assert second.foreign_keys == (
        ForeignKey(("x",), "a", ("id",)),
        ForeignKey(("x", "y"), "a", ("id", "name")),
    )
    assert second.sql.startswith('CREATE TABLE "b c"')
    assert (view.kind, [column.name for column in view.columns]) == ("view", ["id", "twice"])


def test_a_schema_that_cannot_be_read_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(SqlError, match="does not exist"):
        sandbox.schema(database=tmp_path / "no.db")
    with pytest.raises(SqlError, match="syntax error"):
        sandbox.schema(context="CREATE TABL x")


def test_full_text_tables_are_left_out_and_broken_views_have_no_columns(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE docs (a); CREATE VIRTUAL TABLE docs_index USING fts5(a);"
        "CREATE VIRTUAL TABLE place USING rtree(id, low, high); CREATE TABLE place_name (a);"
        "CREATE TABLE gone (a); CREATE VIEW v AS SELECT * FROM gone; DROP TABLE gone;"
    )
    connection.close()
    found = sandbox.schema(database=path).tables
    names = [(table.name, len(table.columns)) for table in found]
    assert names == [("docs", 1), ("place_name", 1), ("v", 0)]


def test_a_plan_is_given_and_nothing_is_run(sandbox: Sandbox) -> None:
    outcome = sandbox.run("SELECT * FROM a WHERE id = 1", context=CONTEXT, explain=True)
    assert outcome.columns == ("id", "parent", "notused", "detail")
    assert "SEARCH a USING INTEGER PRIMARY KEY" in outcome.rows[0][3]
    assert sandbox.run("SELECT nope FROM a", context=CONTEXT, explain=True).status == "invalid_sql"
    with pytest.raises(ValueError, match="no plan"):
        sandbox.run("SELECT 1", writes=True, explain=True)


def test_the_state_holds_rows_and_constraints(sandbox: Sandbox) -> None:
    state = tables(write(sandbox, "UPDATE a SET age = 7 WHERE id = 1; DELETE FROM a WHERE id = 2"))
    assert list(state) == ["a", "b c", "v"]
    assert state["a"].columns == (("id", "INTEGER"), ("name", "TEXT"), ("age", "INT"))
    assert state["a"].rows == ((1, "x", 7),)
    assert state["b c"].rows == ((2, "x", 1),)
    assert state["v"].rows == ((1, 14),)
    assert state["a"].constraints == (
        "check (age > 0)",
        "default (age) 3",
        "index (age desc, name)",
        "not null (name)",
        "primary key (id)",
        "trigger after delete on a begin insert into b c values (old.id, 'x', 1); end",
        "unique (name)",
        "unique index (age) where age > 90",
    )
    assert "foreign key (x, y) references a (id, name) on delete cascade" in (
        state["b c"].constraints
    )


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("CREATE INDEX i ON a (age)", "create index j on A(AGE);", True),
        ("CREATE INDEX i ON a (age)", "CREATE INDEX i ON a (name)", False),
        ("CREATE TABLE t (a INT CHECK(a>1))", 'CREATE TABLE t (a INT CHECK ( "a" > 1 ))', True),
        ("CREATE TABLE t (a INT CHECK(a>1))", "CREATE TABLE t (a INT CHECK (a > 2))", False),
        ("CREATE TABLE t (a PRIMARY KEY, b)", "CREATE TABLE t (a, b, PRIMARY KEY (a))", True),
        ("CREATE TABLE t (a DEFAULT 'X')", "CREATE TABLE t (a DEFAULT 'x')", False),
    ],
)
def test_constraints_are_compared_by_what_they_say(
    sandbox: Sandbox, first: str, second: str, same: bool
) -> None:
    assert (write(sandbox, first).state == write(sandbox, second).state) is same


def test_nothing_of_a_script_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.executescript(CONTEXT)
    connection.close()
    before = path.read_bytes()
    outcome = sandbox.run("DROP VIEW v; DROP TABLE a", database=path, writes=True)
    assert [table.name for table in outcome.state] == ["b c"]
    assert path.read_bytes() == before
    assert tables(write(sandbox, "DELETE FROM a"))["a"].rows == ()
    assert sandbox.run("SELECT count(*) FROM a", context=CONTEXT).rows == ((2,),)


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("", "no_sql"),
        ("-- nothing\n;", "no_sql"),
        ("DELETE FROM nope", "invalid_sql"),
        ("INSERT INTO a VALUES (1, 'again', 1)", "invalid_sql"),
        ("DELETE FROM a; DELEET", "invalid_sql"),
        ("BEGIN; DELETE FROM a", "ok"),
        ("BEGIN; DELETE FROM a; ROLLBACK", "ok"),
        ("SELECT 1", "ok"),
        ("CREATE TABLE t AS SELECT value FROM json_each('[1, 2]')", "ok"),
        ("ALTER TABLE a ADD COLUMN b; ALTER TABLE a RENAME COLUMN b TO c", "ok"),
    ],
)
def test_status(sandbox: Sandbox, sql: str, status: str) -> None:
    assert write(sandbox, sql).status == status


def test_a_script_may_leave_nothing(sandbox: Sandbox) -> None:
    outcome = sandbox.run("DROP TABLE t", context="CREATE TABLE t (a)", writes=True)
    assert outcome.status == "ok"
    assert outcome.state == ()


def test_a_view_over_what_was_dropped_is_said(sandbox: Sandbox) -> None:
    state = tables(write(sandbox, "DROP TABLE a"))
    assert state["v"].rows == ()
    assert state["v"].constraints == ("unreadable: no such table: main.a",)


def test_rows_of_a_state_are_capped_together(sandbox: Sandbox) -> None:
    assert write(sandbox, "DELETE FROM a", max_rows=2).status == "ok"
    outcome = write(sandbox, "INSERT INTO a VALUES (3, 'z', 1)", max_rows=4)
    assert (outcome.status, outcome.truncated) == ("too_many_rows", True)
