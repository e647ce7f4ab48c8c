"""Scripts and queries of other dialects as SQLite's, run by SQLite."""

import sqlite3
from typing import Any

import pytest

from kerasft.sql.contexts import Script, runnable_context, sqlite_query, sqlite_script
from kerasft.sql.dialects import guess_dialect, statements
from kerasft.sql.sandbox import Sandbox

MYSQL = r"""
CREATE DATABASE shop; USE shop; SET NAMES utf8;
CREATE TABLE `owner` (`id` INT NOT NULL AUTO_INCREMENT, `name` VARCHAR(20) CHARACTER SET utf8
  COMMENT 'who', PRIMARY KEY (`id`)) ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8;
CREATE TABLE `order` (
  `id` INT UNSIGNED NOT NULL AUTO_INCREMENT,
  `owner` INT,
  `size` ENUM('s','m') DEFAULT 's',
  `price` DECIMAL(10,2) UNSIGNED,
  `seen` TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`), KEY `k` (`owner`), UNIQUE KEY `u` (`price`), FULLTEXT KEY `f` (`size`)
) ENGINE=MyISAM;
LOCK TABLES `order` WRITE;
INSERT INTO `owner` (`name`) VALUES ('O\'Neil; & son'), ('b');
INSERT INTO `order` (`owner`, `price`) VALUES (1, 7.50);
INSERT IGNORE INTO `order` (`owner`, `price`) VALUES (1, 7.50);
UNLOCK TABLES;
ALTER TABLE `order` ADD CONSTRAINT `fk` FOREIGN KEY (`owner`) REFERENCES `owner` (`id`);
"""
POSTGRES = """
CREATE SCHEMA shop; CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE shop.owner (id SERIAL PRIMARY KEY, name character varying(20) DEFAULT 'x'::text,
  tags TEXT[], state mood, since TIMESTAMP WITH TIME ZONE DEFAULT now());
CREATE TABLE shop.pet (id integer NOT NULL, owner integer, weight NUMERIC CHECK (weight > 0::int));
ALTER TABLE ONLY shop.pet ADD CONSTRAINT pet_key PRIMARY KEY (id);
ALTER TABLE shop.pet OWNER TO admin;
CREATE UNIQUE INDEX one ON shop.pet USING btree (owner);
INSERT INTO shop.owner (name, tags, state)
  VALUES ('a', ARRAY['x', 'y z'], 'glad'), ('b', '{}', NULL);
INSERT INTO shop.pet VALUES (1, 2, '3.5'::numeric);
CREATE VIEW shop.names AS SELECT shop.owner.name FROM shop.owner;
"""


def built(script: Script) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(script.text)
    return connection


def test_a_mysql_dump_builds() -> None:
    script = sqlite_script(MYSQL)
    assert (script.dialect, script.skipped) == ("mysql", ())
    connection = built(script)
    assert connection.execute("SELECT * FROM owner").fetchall() == [(1, "O'Neil; & son"), (2, "b")]
    rows = connection.execute('SELECT id, owner, size, price FROM "order"').fetchall()
    assert rows == [(1, 1, "s", 7.5)]
    keys = connection.execute('SELECT "table", "from" FROM pragma_foreign_key_list(\'order\')')
    assert keys.fetchall() == [("owner", "owner")]


def test_a_postgres_dump_builds() -> None:
    script = sqlite_script(POSTGRES)
    assert (script.dialect, script.skipped) == ("postgres", ())
    connection = built(script)
    rows = connection.execute("SELECT id, name, tags, state FROM owner").fetchall()
    assert rows == [(1, "a", '{x,"y z"}', "glad"), (2, "b", "{}", None)]
    assert connection.execute("SELECT * FROM names").fetchall() == [("a",), ("b",)]
    assert connection.execute("SELECT * FROM pet").fetchall() == [(1, 2, 3.5)]
    with pytest.raises(sqlite3.IntegrityError, match=r"pet\.id"):
        connection.execute("INSERT INTO pet VALUES (1, 3, 1)")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute("INSERT INTO pet VALUES (2, 3, -1)")


def test_a_script_of_sql_server_builds() -> None:
    script = sqlite_script(
        "CREATE TABLE [dbo].[t] ([id] INT IDENTITY(1,1) PRIMARY KEY, n NVARCHAR(MAX), m MONEY); "
        "INSERT INTO [dbo].[t] (n, m) VALUES (N'ä', 2.5)"
    )
    assert (script.dialect, script.skipped) == ("tsql", ())
    assert built(script).execute("SELECT * FROM t").fetchall() == [(1, "ä", 2.5)]


@pytest.mark.parametrize(
    ("context", "dialect", "skipped"),
    [
        (
            "CREATE TABLE t (a INT UNIQUE); INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 2",
            "mysql",
            ["INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 2"],
        ),
        (
            "CREATE TABLE t (a INT); CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN "
            "IF 1 THEN UPDATE t SET a = 1; END IF; DELETE FROM t; END; INSERT INTO t VALUES (5)",
            "mysql",
            ["CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN IF 1 THEN UPDATE t SET a…"],
        ),
        (
            "CREATE TABLE t (a INT);\nDELIMITER //\nCREATE PROCEDURE p() BEGIN DELETE FROM t; "
            "END//\nDELIMITER ;\nINSERT INTO t VALUES (5)",
            "mysql",
            ["DELIMITER // CREATE PROCEDURE p() BEGIN DELETE FROM t; END// DELIMITER ;"],
        ),
        (
            "CREATE TABLE t (a INT);\nCOPY t (a) FROM stdin;\n1\n'\n\\.\nINSERT INTO t VALUES (5)",
            "postgres",
            [r"COPY t (a) FROM stdin; 1 ' \."],
        ),
        (
            "CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql; "
            "CREATE TABLE t (a INT)",
            "postgres",
            ["CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql"],
        ),
        ("CREATE TABLE t (u UUID DEFAULT gen())", "postgres", ["default of t.u: GEN()"]),
        ("CREATE TABLE t (a INT); this is no SQL", "sqlite", ["this is no SQL"]),
    ],
)
def test_what_has_no_counterpart_is_named(context: str, dialect: Any, skipped: list[str]) -> None:
    script = sqlite_script(context, dialect)
    assert list(script.skipped) == skipped
    rows = built(script).execute("SELECT * FROM t").fetchall()
    assert rows == ([(5,)] if "(5)" in context else [])


def test_what_sqlite_takes_stays_untouched() -> None:
    taken = "create table `T` (a INT UNSIGNED, b SERIAL) ; -- and a comment\n"
    with Sandbox() as sandbox:
        assert runnable_context(taken, sandbox) == Script(taken, "sqlite")
        assert runnable_context("", sandbox) == Script("", "sqlite")
        assert runnable_context(taken, sandbox, "postgres").dialect == "postgres"
        qualified = "CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (1);"
        script = runnable_context(qualified, sandbox)
        assert script.dialect == "postgres"
        query = sqlite_query("SELECT shop.t.a FROM shop.t")
        assert sandbox.run(query, context=script.text).rows == ((1,),)
        reserved = runnable_context("CREATE TABLE transaction (id INT)", sandbox)
        assert sandbox.run('SELECT * FROM "transaction"', context=reserved.text).status == "ok"
        wrong = runnable_context("CREATE TABLE t (a INT); INSERT INTO t VALUES (1, 2)", sandbox)
        assert sandbox.run("SELECT 1", context=wrong.text).status == "context_error"


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT YEAR(d), MONTH(d), DAY(d), QUARTER(d) FROM t", [(2024, 5, 31, 2)]),
        ("SELECT EXTRACT(YEAR FROM d), EXTRACT(HOUR FROM s) FROM t", [(2024, 10)]),
        ("SELECT DATEPART(dw, d), DATEPART(month, d) FROM t", [(6, 5)]),  # a Friday
        ("SELECT DAYOFWEEK(d), WEEKDAY(d) FROM t", [(6, 4)]),
        ("SELECT EXTRACT(DOW FROM d::date) FROM t", [(5,)]),
        ("SELECT DATE_ADD(d, INTERVAL 1 DAY), DATE_SUB(d, INTERVAL 2 WEEK) FROM t",
         [("2024-06-01", "2024-05-17")]),
        ("SELECT DATE_SUB(s, INTERVAL 30 MINUTE) FROM t", [("2024-05-31 09:45:00",)]),
        ("SELECT DATEADD(quarter, -1, '2024-05-15')", [("2024-02-15",)]),
        ("SELECT d - INTERVAL '1 year' FROM t", [("2023-05-31",)]),
        ("SELECT DATE '2024-01-01' + INTERVAL '10' DAY", [("2024-01-11",)]),
        ("SELECT DATE_ADD(d, INTERVAL n DAY) FROM t", [("2024-06-03",)]),
        ("SELECT DATEDIFF(d, '2024-05-01') FROM t", [(30,)]),
        ("SELECT DATEDIFF(day, '2024-05-01', d), DATEDIFF(year, '2023-12-31', d) FROM t",
         [(30, 1)]),
        ("SELECT TIMESTAMPDIFF(YEAR, '2023-06-01', d), TIMESTAMPDIFF(MONTH, '2023-06-01', d),"
         " TIMESTAMPDIFF(HOUR, '2024-05-30', d) FROM t", [(0, 11, 24)]),
        ("SELECT DATE_TRUNC('month', s), DATE_TRUNC('week', d), DATE_TRUNC('quarter', d) FROM t",
         [("2024-05-01", "2024-05-27", "2024-04-01")]),
        ("SELECT LAST_DAY('2024-02-03'), DATE_FORMAT(d, '%Y/%m') FROM t",
         [("2024-02-29", "2024/05")]),
        ("SELECT n::float / 2, n / 2 FROM t", [(1.5, 1)]),
        ("SELECT STRING_AGG(d, ', ') FROM t WHERE d ILIKE '2024%'", [("2024-05-31",)]),
        ("SELECT TOP 1 n FROM t ORDER BY n", [(3,)]),
        ("SELECT COUNT(*) FROM t WHERE NOW() > s AND d < CURDATE() AND GETDATE() > d", [(1,)]),
        ("SELECT IF(n > 2, CONCAT(n, 'x'), IFNULL(d, 1)) FROM t", [("3x",)]),
    ],
)  # fmt: skip
def test_queries_mean_the_same(sql: str, rows: list[tuple]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "CREATE TABLE t (d DATE, s TIMESTAMP, n INT);"
        "INSERT INTO t VALUES ('2024-05-31', '2024-05-31 10:15:00', 3)"
    )
    assert connection.execute(sqlite_query(sql)).fetchall() == rows


@pytest.mark.parametrize("sql", ["", "SELECT", "what?", "SELECT 'open", "(" * 2000, "PRAGMA x"])
def test_what_cannot_be_read_stays(sql: str) -> None:
    assert sqlite_query(sql) == sql


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ("CREATE TABLE t (a INT)", "sqlite"),
        ("SELECT a FROM t WHERE b = 'x::y AUTO_INCREMENT NOW()'", "sqlite"),
        ("SELECT main.t.a FROM t", "postgres"),
        ("SELECT `a` FROM t", "mysql"),
        ("SELECT a FROM s.t", "postgres"),
        ("SELECT x.a FROM t x", "sqlite"),
        ("SELECT a::int FROM t", "postgres"),
        ("SELECT DATEADD(day, 1, a) FROM t", "tsql"),
        ("SELECT a FROM t WHERE b > NOW() - INTERVAL '1 month'", "postgres"),
    ],
)
def test_dialects_are_guessed(sql: str, dialect: str) -> None:
    assert guess_dialect(sql) == dialect


def test_statements_end_at_semicolons_outside_quotes_and_bodies() -> None:
    text = (
        "SELECT ';' ; ; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; "
        "END; x"
    )
    assert list(statements(text, "sqlite")) == [
        "SELECT ';'",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END",
        "x",
    ]
