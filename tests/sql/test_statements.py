"""What statements do, and what engines complain of, by their words."""

import sqlite3

import pytest

from kerasft.sql.statements import extract_script, fault_kind, is_script, statement_kind


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", "read"),
        ("(select 1)", "read"),
        ("VALUES (1)", "read"),
        ("-- DELETE\n/* DROP */ SELECT 'DELETE FROM t; DROP TABLE t'", "read"),
        ('SELECT "update" FROM "delete"', "read"),
        ("SELECT replace(a, 'b', 'c') FROM t", "read"),
        ("WITH x AS (SELECT 1), y(a) AS (VALUES (2)) SELECT * FROM x", "read"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "write"),
        ("WITH RECURSIVE x AS (SELECT 1) DELETE FROM t", "write"),
        ("insert into t select * from u", "write"),
        ("UPDATE t SET a = (SELECT 1)", "write"),
        ("REPLACE INTO t VALUES (1)", "write"),
        ("CREATE TABLE t AS SELECT 1", "schema"),
        ("ALTER TABLE t ADD a", "schema"),
        ("SELECT 1; DROP TABLE t; DELETE FROM u", "schema"),
        ("DELETE FROM t; SELECT 1;", "write"),
        ("BEGIN; DELETE FROM t; COMMIT", "write"),
        ("", "read"),
        ("I would delete it", "read"),
        ("GRANT DELETE ON t TO u", "read"),
    ],
)
def test_statement_kind(sql: str, kind: str) -> None:
    assert statement_kind(sql) == kind


@pytest.mark.parametrize(
    ("sql", "several"),
    [
        ("SELECT 1", False),
        ("SELECT 1 ; ;\n", False),
        ("SELECT ';'", False),
        ("SELECT 1; SELECT 2", True),
        ("", False),
    ],
)
def test_is_script(sql: str, several: bool) -> None:
    assert is_script(sql) is several


@pytest.mark.parametrize(
    ("answer", "script"),
    [
        ("DELETE FROM t;\nDELETE FROM u;", "DELETE FROM t;\nDELETE FROM u;"),
        (
            "So:\n```sql\nDELETE FROM t; ;DELETE FROM u\n```\nDone. DELETE FROM v",
            "DELETE FROM t;\nDELETE FROM u",
        ),
        ("DELETE FROM t; This deletes it.", "DELETE FROM t;"),
        ("nothing", None),
    ],
)
def test_extract_script(answer: str, script: str | None) -> None:
    assert extract_script(answer) == script


CASES = {
    "missing_table": ["SELECT * FROM u", "SELECT z.* FROM t", "DELETE FROM u"],
    "missing_column": [
        "SELECT c FROM t",
        "SELECT t.c FROM t",
        "INSERT INTO t (c) VALUES (1)",
        "UPDATE t SET c = 1",
        "SELECT a FROM t JOIN t AS u USING (c)",
        "ALTER TABLE t DROP COLUMN c",
    ],
    "syntax_error": ["SELEC 1", "SELECT a FROM t GROUP BY", "SELECT 'abc", "SELECT a FROM t WHERE"],
    "invalid_sql": [
        "SELECT foo(1)",
        "SELECT a FROM t, t AS u",
        "SELECT sum(a) FROM t WHERE sum(a) > 1",
        "SELECT 1 UNION SELECT 1, 2",
        "INSERT INTO t VALUES (1)",
    ],
}


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
@pytest.mark.parametrize(("kind", "sql"), [(kind, sql) for kind in CASES for sql in CASES[kind]])
def test_faults_as_the_engines_word_them(engine: str, kind: str, sql: str) -> None:
    module = sqlite3 if engine == "sqlite" else pytest.importorskip("duckdb")
    connection = module.connect(":memory:")
    connection.execute("CREATE TABLE t (a INT, b TEXT)")
    with pytest.raises(module.Error) as error:
        connection.execute(sql)
    assert fault_kind(str(error.value)) == kind
