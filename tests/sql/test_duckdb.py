"""DuckDB behind the sandbox: values, files, states, and what a missing package says."""

import datetime
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerasft.errors import SqlError
from kerasft.sql.sandbox import Sandbox
from kerasft.sql.schema import Column, ForeignKey

duckdb = pytest.importorskip("duckdb")

CONTEXT = """
CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INT DEFAULT 3
    CHECK (age > 0));
CREATE TABLE b (x INT REFERENCES a (id), y DECIMAL(10,2), z DATE);
CREATE INDEX by_age ON a (age);
CREATE VIEW v AS SELECT id, 2 * age AS twice FROM a;
INSERT INTO a VALUES (1, 'x', 2), (2, 'y', 5);
INSERT INTO b VALUES (1, 1.5, '2020-01-02');
"""
# Leaves rows in DuckDB's write-ahead log, as a killed writer does.
KILLED_WRITER = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE t AS SELECT range AS a FROM range(1000)")
connection.execute("CHECKPOINT")
connection.execute("SET wal_autocheckpoint = '1GB'")
connection.execute("INSERT INTO t VALUES (5000)")
os._exit(0)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("duckdb") as sandbox:
        yield sandbox


def make_database(path: Path) -> Path:
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE t AS SELECT range AS a FROM range(1000)")
    connection.close()
    return path


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("NULL", None),
        ("1::TINYINT", 1),
        ("9223372036854775807", 2**63 - 1),
        ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1),
        ("0.5::FLOAT", 0.5),
        ("0.1::DOUBLE", 0.1),
        ("'inf'::DOUBLE", float("inf")),
        ("1.50::DECIMAL(10,2)", 1.5),
        ("12::DECIMAL(10,0)", 12),
        ("true", 1),
        ("'é\n'", "é\n"),
        ("'a'::BLOB", b"a"),
        ("DATE '2020-01-02'", "2020-01-02"),
        ("DATE 'infinity'", "infinity"),
        ("DATE '20000-01-01'", "20000-01-01"),
        ("TIMESTAMP '2020-01-02 03:04:05.5'", "2020-01-02 03:04:05.5"),
        ("TIMESTAMPTZ '2020-01-02 03:04:05+02'", "2020-01-02 01:04:05+00"),
        ("TIME '10:00'", "10:00:00"),
        ("INTERVAL 1 MONTH", "1 month"),
        ("'101'::BIT", "101"),
        ("[1, NULL]", "[1, NULL]"),
        ("{'a': 1}", "{'a': 1}"),
        ("'a'::ENUM('a', 'b')", "a"),
        ("'2a8f7f4e-0000-0000-0000-000000000000'::UUID", "2a8f7f4e-0000-0000-0000-000000000000"),
    ],
)
def test_values_follow_the_stated_rule(sandbox: Sandbox, sql: str, value: object) -> None:
    outcome = sandbox.run(f"SELECT {sql} AS a, 1 AS a; -- done")
    assert outcome.rows == ((value, 1),), outcome
    assert type(outcome.rows[0][0]) is type(value)
    assert outcome.columns == ("a", "a")


def test_order_and_names_survive_the_cast_to_text(sandbox: Sandbox) -> None:
    sql = "SELECT DATE '2020-01-01' + CAST(x AS INT) AS day, x FROM range(5) r(x) ORDER BY x DESC"
    outcome = sandbox.run(sql)
    start = datetime.date(2020, 1, 1)
    assert outcome.rows == tuple(
        (str(start + datetime.timedelta(days=x)), x) for x in (4, 3, 2, 1, 0)
    )
    assert outcome.columns == ("day", "x")


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("", "no_sql"),
        ("-- nothing\n;", "no_sql"),
        ("SELEC 1", "invalid_sql"),
        ("SELECT missing FROM a", "invalid_sql"),
        ("SELECT 'x'::INT", "invalid_sql"),
        ("SELECT ?", "invalid_sql"),
        ("FROM a", "ok"),
        ("SUMMARIZE a", "ok"),
        ("DESCRIBE a", "ok"),
        ("SHOW TABLES", "ok"),
        ("VALUES (1), (2)", "ok"),
        ("WITH c AS (SELECT 1 AS x) SELECT * FROM c", "ok"),
        ("PIVOT a ON name IN ('x', 'y') USING sum(age)", "ok"),
    ],
)
def test_status(sandbox: Sandbox, sql: str, status: str) -> None:
    outcome = sandbox.run(sql, context=CONTEXT)
    assert outcome.status == status, outcome


def test_half_a_character_is_no_sql_and_harms_nothing(sandbox: Sandbox) -> None:
    assert sandbox.run("SELECT '\ud800'").status == "invalid_sql"
    assert sandbox.run("SELECT 1", context="-- \ud800").status == "context_error"
    assert sandbox.run("SELECT '\ud800'", writes=True).status == "invalid_sql"


def test_a_context_of_comments_is_an_empty_database(sandbox: Sandbox) -> None:
    assert sandbox.run("SELECT 1", context="-- nothing\n").rows == ((1,),)


def test_one_row_more_than_allowed_is_cut_and_said(sandbox: Sandbox) -> None:
    assert sandbox.run("FROM range(300)", max_rows=300).status == "ok"
    outcome = sandbox.run("FROM range(301)", max_rows=300)
    assert (outcome.status, len(outcome.rows)) == ("too_many_rows", 300)


def test_a_schema_has_columns_and_keys(sandbox: Sandbox) -> None:
    schema = sandbox.schema(context=CONTEXT + "CREATE SCHEMA s; CREATE TABLE s.t (a INT)")
    assert schema.engine == "duckdb"
    first, second, third, view = schema.tables
    assert first.columns == (
        Column("id", "INTEGER", not_null=True, primary_key=1),
        Column("name", "VARCHAR", not_null=True),
        Column("age", "INTEGER"),
    )
    assert second.foreign_keys == (ForeignKey(("x",), "a", ("id",)),)
    assert (third.name, third.schema) == ("s.t", "s")
    assert (view.kind, [column.name for column in view.columns]) == ("view", ["id", "twice"])


def test_a_plan_is_given(sandbox: Sandbox) -> None:
    outcome = sandbox.run("SELECT * FROM a; -- x", context=CONTEXT, explain=True)
    assert outcome.columns == ("explain_key", "explain_value")
    assert "SCAN" in outcome.rows[0][1].upper()


def test_the_state_after_a_script(sandbox: Sandbox) -> None:
    script = "INSERT INTO a VALUES (3, 'z', 9) RETURNING id; DELETE FROM b; SELECT 1"
    outcome = sandbox.run(script, context=CONTEXT, writes=True)
    first, second, view = outcome.state
    assert first.rows == ((1, "x", 2), (2, "y", 5), (3, "z", 9))
    assert second.rows == ()
    assert view.rows == ((1, 4), (2, 10), (3, 18))
    assert first.constraints == (
        "check ((age > 0))",
        "default (age) 3",
        "index (age)",
        "not null (id)",
        "not null (name)",
        "primary key (id)",
        "unique (name)",
    )
    assert second.constraints == ("foreign key (x) references a (id)",)
    assert sandbox.run("SELECT count(*) FROM b", context=CONTEXT).rows == ((1,),)


@pytest.mark.parametrize(
    ("script", "left"),
    [("BEGIN; DELETE FROM b", 0), ("BEGIN; DELETE FROM b; ROLLBACK", 1), ("DELETE FROM b", 0)],
)
def test_a_transaction_left_open_is_committed(sandbox: Sandbox, script: str, left: int) -> None:
    outcome = sandbox.run(script, context=CONTEXT, writes=True)
    assert len(outcome.state[1].rows) == left, outcome


@pytest.mark.parametrize("name", ["plain.duckdb", "it's.db", "a?b#c%d e.db", "naïve.sqlite"])
def test_the_right_file_is_opened_and_never_changed(
    sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    path = make_database(tmp_path / name)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sandbox.run("SELECT count(*) FROM t", database=path).rows == ((1000,),)
    assert sandbox.run("DELETE FROM t", database=path).status == "refused"
    (state,) = sandbox.run("DELETE FROM t WHERE a > 1", database=path, writes=True).state
    assert state.rows == ((0,), (1,))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_rows_in_a_write_ahead_log_are_read(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path)], check=True)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["a.duckdb", "a.duckdb.wal"]
    assert sandbox.run("SELECT count(*), max(a) FROM t", database=path).rows == ((1001, 5000),)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_that_is_no_database_is_a_context_error(sandbox: Sandbox, tmp_path: Path) -> None:
    whole = make_database(tmp_path / "whole.db").read_bytes()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)")
    said = {
        "empty.db": (b"", "is empty"),
        "text.db": (b"id,name\n" * 50, "not a DuckDB database"),
        "other.db": ((tmp_path / "other.db").read_bytes(), "not a DuckDB database"),
        "half.db": (whole[: len(whole) // 2], "could not be read"),
        "damaged.db": (whole[:5000] + b"x" * 5000 + whole[10000:], "checksum"),
    }
    for name, (content, message) in said.items():
        (tmp_path / name).write_bytes(content)
        outcome = sandbox.run("SELECT sum(a) FROM t", database=tmp_path / name)
        assert outcome.status == "context_error", (name, outcome)
        assert message in outcome.message
    missing = sandbox.run("SELECT 1", database=tmp_path / "missing.db")
    assert (missing.status, "does not exist" in missing.message) == ("context_error", True)
    assert not (tmp_path / "missing.db").exists()


def test_a_file_that_another_process_writes_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    path = make_database(tmp_path / "held.duckdb")
    program = (
        "import duckdb, sys; held = duckdb.connect(sys.argv[1]); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    outcome = sandbox.run("SELECT 1 FROM t", database=path)
    holder.communicate()
    assert outcome.status == "context_error"
    assert "open for writing elsewhere" in outcome.message


def test_the_worker_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    monkeypatch.setenv("HF_TOKEN", "canary-in-the-environment")
    with Sandbox("duckdb") as sandbox:
        process = Path(f"/proc/{sandbox._process.pid}")
        assert b"canary" not in (process / "environ").read_bytes()
        assert (
            "Max file size             0                    0" in (process / "limits").read_text()
        )
        assert os.listdir(sandbox._folder.name) == []


def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SqlError, match=r'pip install "kerasft\[duckdb\]"'):
        Sandbox("duckdb")
