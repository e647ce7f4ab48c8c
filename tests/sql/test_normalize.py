"""Pairs of SQL as plain text: same normal form or not; and the text-level functions."""

import itertools
import json
import sqlite3
from pathlib import Path

import pytest
import sqlglot
from sqlglot.optimizer.qualify import qualify

from kerasft.sql.lexical import pieces
from kerasft.sql.normalize import (
    columns_by_table,
    extract_sql,
    fold,
    normalize,
    order_keys_query,
    ordered_outermost,
)
from kerasft.sql.sandbox import Sandbox

SAME = """
SELECT T1.name FROM singer AS T1
select singer.Name from Singer ;

select "name" from [singer]
SELECT `name`   FROM   singer

SELECT name FROM singer WHERE name = "Bob"
SELECT name FROM singer WHERE name = 'Bob'

SELECT T1.a, T2.b FROM x AS T1 JOIN y AS T2 ON T1.id = T2.id
select x.a, y.b from x inner join y on x.id = y.id

SELECT a FROM t LEFT OUTER JOIN u ON t.i = u.i ORDER BY a ASC
SELECT a FROM t AS p LEFT JOIN u AS q ON p.i = q.i ORDER BY a

SELECT a FROM t WHERE b != 1
SELECT a FROM t WHERE b <> 1 -- not one

SELECT name FROM singer AS s WHERE EXISTS (SELECT 1 FROM song WHERE song.singer = s.id)
SELECT singer.name FROM singer WHERE EXISTS (SELECT 1 FROM song AS x WHERE x.singer = singer.id)

SELECT a FROM t UNION SELECT b FROM u
select t.a from t union select u.b from u;

SELECT count(*) AS n FROM t GROUP BY a ORDER BY n DESC LIMIT 3
select Count( * ) from t group by a order by COUNT(*) desc limit 3

SELECT T1.name AS name FROM x AS T1 JOIN y AS T2 ON T1.id = T2.id
SELECT T1.name FROM x AS T1 JOIN y AS T2 ON T1.id = T2.id

SELECT a FROM t WHERE id IN (SELECT max(b) AS m FROM u)
SELECT a FROM t WHERE id IN (SELECT max(b) FROM u)

SELECT DISTINCT (a) FROM t WHERE (b = 1) AND c == 2
SELECT DISTINCT a FROM t WHERE b = 1 AND (c = 2)

SELECT t.a FROM t, u
SELECT t.a FROM t CROSS JOIN u

SELECT t.a FROM t JOIN u ON TRUE
SELECT t.a FROM t JOIN u

SELECT CAST(a AS REAL) FROM t
SELECT cast(a as double) FROM t

SELECT a FROM WHERE  'It  IS' ;
select A from where 'It  IS'

VACUUM  INTO 'x'
vacuum into 'x';
"""
DIFFERENT = """
SELECT name FROM singer WHERE name = 'Bob'
SELECT name FROM singer WHERE name = 'bob'

SELECT name FROM singer WHERE name = "Bob"
SELECT name FROM singer WHERE name = "bob"

SELECT name FROM singer WHERE name = 'a  b'
SELECT name FROM singer WHERE name = 'a b'

SELECT a, b FROM t
SELECT b, a FROM t

SELECT a FROM t ORDER BY a
SELECT a FROM t ORDER BY a DESC

SELECT T1.a FROM x AS T1 JOIN y AS T2 ON T1.id = T2.id
SELECT T2.a FROM x AS T1 JOIN y AS T2 ON T1.id = T2.id

SELECT a FROM t LEFT JOIN u ON t.i = u.i
SELECT a FROM t JOIN u ON t.i = u.i

SELECT DISTINCT a FROM t
SELECT a FROM t

SELECT a FROM WHERE  'It  IS'
SELECT a FROM WHERE  'It IS'

SELECT 1; SELECT 2
SELECT 1
"""


# What a parser can take for the same, in groups of which no two may be one if SQLite's answers
# differ: over the tables below, whose rows tell them apart.
LOOKALIKES = """
SELECT CAST(a AS DECIMAL) / 2 FROM t
SELECT CAST(a AS REAL) / 2 FROM t
SELECT CAST(a AS INT) / 2 FROM t
SELECT CAST(a AS NUMERIC(10,2)) / 2 FROM t
SELECT a / 2 FROM t
SELECT a / 2.0 FROM t

SELECT CAST(c AS BOOLEAN) FROM t
SELECT CAST(c AS INTEGER) FROM t
SELECT CAST(c AS BIGINT) FROM t
SELECT CAST(c AS LONG) FROM t
SELECT CAST(c AS DATE) FROM t
SELECT DATE(c) FROM t
SELECT CAST(c AS CHAR) FROM t
SELECT CAST(c AS TEXT) FROM t
SELECT CAST(c AS STRING) FROM t
SELECT CAST(c AS BLOB) FROM t

SELECT c % 2 FROM t
SELECT mod(c, 2) FROM t

SELECT id FROM t ORDER BY a
SELECT id FROM t ORDER BY a NULLS LAST
SELECT id FROM t ORDER BY a DESC
SELECT id FROM t ORDER BY a DESC NULLS FIRST

SELECT id FROM t ORDER BY name
SELECT id FROM t ORDER BY name COLLATE NOCASE
SELECT id FROM t ORDER BY 'name'

SELECT id FROM t WHERE b = 'x'
SELECT id FROM t WHERE b = 'x' COLLATE BINARY
SELECT id FROM t WHERE b GLOB 'x'

SELECT id FROM t WHERE name = "b"
SELECT id FROM t WHERE name = 'b'
SELECT id FROM t WHERE name = [b]
SELECT id FROM t WHERE name = `b`
SELECT id FROM t WHERE name = "bob"
SELECT id FROM t WHERE name = [bob]
SELECT id FROM t WHERE name = 'bob'

SELECT id FROM t WHERE a = 5
SELECT id FROM t WHERE a IS NOT 5
SELECT id FROM t WHERE a != 5

SELECT id FROM t WHERE a NOT BETWEEN 5 AND 7 OR c > 1 AND id < 3
SELECT id FROM t WHERE (a NOT BETWEEN 5 AND 7 OR c > 1) AND id < 3

SELECT t.id FROM t JOIN u ON t.id = u.t
SELECT u.id FROM t JOIN u ON t.id = u.t
SELECT t.id FROM t LEFT JOIN u ON t.id = u.t
SELECT t.id FROM t NATURAL JOIN u
SELECT T1.id FROM u T1 INNER JOIN t T2 ON T1.id = T2.id
SELECT t1.id FROM t JOIN u ON t.id = u.t
SELECT t2.id FROM t JOIN u ON t.id = u.t

SELECT count(*) AS name FROM t GROUP BY a ORDER BY name
SELECT count(*) AS name FROM t GROUP BY a ORDER BY t.name
SELECT count(*) FROM t GROUP BY a ORDER BY name

SELECT -a AS a FROM t ORDER BY a
SELECT -a FROM t ORDER BY a
SELECT -a AS x FROM t ORDER BY a
SELECT -a AS a FROM t ORDER BY -a
SELECT -a FROM t ORDER BY -a

SELECT a AS b, count(*) FROM t GROUP BY b
SELECT a, count(*) FROM t GROUP BY b
SELECT a, count(*) FROM t GROUP BY a

SELECT a, count(*) AS c FROM t GROUP BY a HAVING c > 1
SELECT a, count(*) FROM t GROUP BY a HAVING count(*) > 1
SELECT a, count(*) FROM t GROUP BY a HAVING c > 1

SELECT a AS name, name AS a FROM t ORDER BY a, name
SELECT a, name FROM t ORDER BY a, name
SELECT a, name FROM t ORDER BY name, a

SELECT n, m FROM (SELECT count(*) AS n, a AS m FROM t GROUP BY a)
SELECT n, m FROM (SELECT count(*) AS m, a AS n FROM t GROUP BY a)

SELECT id FROM t WHERE id IN (SELECT a FROM u)
SELECT id FROM t WHERE id IN (SELECT u.a FROM u)
SELECT id FROM t WHERE id IN (SELECT t.a FROM u)
SELECT id FROM t WHERE id IN (SELECT t FROM u)

SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t = t.id)
SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t = id)

SELECT a FROM t UNION SELECT t FROM u UNION ALL SELECT a FROM t
SELECT a FROM t UNION ALL SELECT t FROM u UNION SELECT a FROM t

SELECT sum(id) OVER (ORDER BY a) FROM t
SELECT sum(id) OVER (ORDER BY a ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM t
SELECT sum(id) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT sum(id) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM t

SELECT date(d) FROM t
SELECT date(d, '+1 day') FROM t
SELECT strftime('%m', d) FROM t
SELECT strftime('%M', d) FROM t

SELECT 'a\\\\b'
SELECT 'a\\b'
SELECT x'10'
SELECT 10
"""
TABLES = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT COLLATE NOCASE, c REAL, d TEXT, name TEXT);
INSERT INTO t VALUES (1, 5, 'x', 1.5, '2020-01-02', 'Ann'),
    (2, NULL, 'X', 2.5, '2021-03-04', 'bob'), (3, 7, 'y', -1.5, NULL, 'b'),
    (4, 5, 'z', 0, '2020-01-02', 'a'), (5, 8, NULL, 3, 'x', 'it''s');
CREATE TABLE u (id INTEGER PRIMARY KEY, t INT, name TEXT);
INSERT INTO u VALUES (1, 1, 'p'), (2, 1, 'q'), (3, 3, 'p'), (4, NULL, 'r');
"""


def pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(block.splitlines()) for block in text.strip().split("\n\n")]


@pytest.mark.parametrize(("first", "second"), pairs(SAME))
def test_same(first: str, second: str) -> None:
    assert normalize(first) == normalize(second)


@pytest.mark.parametrize(("first", "second"), pairs(DIFFERENT))
def test_different(first: str, second: str) -> None:
    assert normalize(first) != normalize(second)


@pytest.mark.parametrize("group", LOOKALIKES.strip().split("\n\n"))
def test_what_looks_alike_and_answers_otherwise_is_not_the_same(group: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)

    def answer(sql: str) -> str:
        try:
            return repr(connection.execute(sql).fetchall())
        except sqlite3.Error as error:
            return f"{type(error).__name__}: {sql}"

    known = {"t": {"id", "a", "b", "c", "d", "name"}, "u": {"id", "t", "name"}}
    queries = group.splitlines()
    answers = [answer(sql) for sql in queries]
    assert len(set(answers)) > 1
    forms = [normalize(sql, "sqlite", known) for sql in queries]
    for first, second in itertools.combinations(range(len(queries)), 2):
        if answers[first] != answers[second]:
            assert forms[first] != forms[second], (queries[first], queries[second])


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        # a bare column of several tables belongs to the one that has it
        ("SELECT a, t.id FROM t, u", "SELECT t.a, t.id FROM t, u", True),
        ("SELECT name FROM t, u", "SELECT t.name FROM t, u", False),
        # text, since nothing is called so
        ('SELECT "Bob" FROM t', "SELECT 'Bob' FROM t", True),
        ('SELECT id FROM t WHERE "Bob" = name', "SELECT id FROM t WHERE 'Bob' = name", True),
        ('SELECT id AS "Bob" FROM t WHERE a = "Bob"', "SELECT id FROM t WHERE a = 'Bob'", False),
        ('SELECT id FROM t WHERE name = "b"', "SELECT id FROM t WHERE name = b", True),
        # inside another query, since the table has it
        (
            "SELECT a FROM t WHERE id IN (SELECT u.t FROM u)",
            "SELECT a FROM t WHERE id IN (SELECT t FROM u)",
            True,
        ),
        # of a common table expression nothing is known, whatever its name
        (
            "WITH u AS (SELECT 1 AS x) SELECT a FROM t WHERE id IN (SELECT u.t FROM u)",
            "WITH u AS (SELECT 1 AS x) SELECT a FROM t WHERE id IN (SELECT t FROM u)",
            False,
        ),
    ],
)
def test_tables_that_are_known_decide(first: str, second: str, same: bool) -> None:
    known = {"t": {"id", "a", "b", "name"}, "u": {"id", "t", "name"}}
    forms = [normalize(sql, "sqlite", known) for sql in (first, second)]
    assert (forms[0] == forms[1]) is same


def test_in_duckdb_double_quotes_are_names_and_types_its_own() -> None:
    same = (
        "SELECT T1.a FROM x AS T1 WHERE year(T1.d) = 2020",
        'select "a" from X where YEAR(d)=2020;',
    )
    assert normalize(same[0], "duckdb") == normalize(same[1], "duckdb")
    for first, second in [
        ('SELECT a FROM t WHERE b = "c"', "SELECT a FROM t WHERE b = 'c'"),
        ("SELECT x FROM t AS x", "SELECT x FROM t"),
        ("SELECT CAST(a AS BIGINT) FROM t", "SELECT CAST(a AS INTEGER) FROM t"),
    ]:
        assert normalize(first, "duckdb") != normalize(second, "duckdb")


@pytest.mark.parametrize(("sql", "_"), pairs(SAME) + pairs(DIFFERENT))
def test_normal_form_is_its_own(sql: str, _: str) -> None:
    assert normalize(normalize(sql)) == normalize(sql)


@pytest.mark.parametrize(
    "sql", ["", ";", "(" * 3000 + "select 1" + ")" * 3000, "'", "\0", "💥 select"]
)
def test_no_text_breaks_it(sql: str) -> None:
    assert isinstance(normalize(sql), str)


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("select a from t order by b", True),
        ("SELECT a FROM t ORDER /* here */\n BY b DESC LIMIT 3", True),
        ("select a from t union select a from u order by 1", True),
        ("with x as (select 1 as a order by 1) select * from x order by a", True),
        ("select a from (select a from t order by b)", False),
        ("with x as (select 1 order by 1) select * from x", False),
        ("select row_number() over (partition by a order by b) from t", False),
        ("select a from t where b = ' order by '", False),
        ("select a from t -- order by b", False),
        ('select "order" by_name from t', False),
    ],
)
def test_ordered_outermost(sql: str, ordered: bool) -> None:
    assert ordered_outermost(sql) is ordered


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  SELECT 1;\n", "SELECT 1;"),
        ("SELECT a FROM t WHERE b = ';' ; DROP TABLE t", "SELECT a FROM t WHERE b = ';' ;"),
        ("select a -- x; y\nfrom t; more", "select a -- x; y\nfrom t;"),
        ("```sql\nSELECT 1;\n```", "SELECT 1;"),
        ("Here:\n```\nselect a\nfrom t\n```\nDone.", "select a\nfrom t"),
        ("```sql\nSELECT 1", "SELECT 1"),
        ("```python\nprint(1)\n```\n```sql\nSELECT 2\n```", "SELECT 2"),
        ("```SELECT 1```", "SELECT 1"),
        ("Use `SELECT 1` for it.", "SELECT 1"),
        ("The SQL is: SELECT a FROM t", "SELECT a FROM t"),
        ("With this query you select rows: SELECT a FROM t", "SELECT a FROM t"),
        ("Answer: select a from t", "select a from t"),
        ("with x(a) as (select 1) select * from x", "with x(a) as (select 1) select * from x"),
        (
            "So: WITH x AS MATERIALIZED (SELECT 1) SELECT 2",
            "WITH x AS MATERIALIZED (SELECT 1) SELECT 2",
        ),
        ("(SELECT 1)", "(SELECT 1)"),
        ("DELETE FROM t WHERE a = 1", "DELETE FROM t WHERE a = 1"),
        ("It is: update or ignore t as x set a = 1", "update or ignore t as x set a = 1"),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "CREATE OR REPLACE TEMP VIEW v AS SELECT 1"),
        ("MERGE INTO t USING u ON a = b", "MERGE INTO t USING u ON a = b"),
        ("FROM s.t", "FROM s.t"),
        (
            "from t as a left join u using (id) select a.id; x",
            "from t as a left join u using (id) select a.id;",
        ),
        ("```sql\nFROM t WHERE a > 3\n```", "FROM t WHERE a > 3"),
        ("FROM (SELECT 1) SELECT *", "FROM (SELECT 1) SELECT *"),
        ("PIVOT t ON a USING sum(b)", "PIVOT t ON a USING sum(b)"),
        ("Answer: SELECT a\nFROM t;", "SELECT a\nFROM t;"),
        ("From the schema, it is SELECT a FROM t", "SELECT a FROM t"),
        ("We take it from t;", None),
        ("I would describe t", None),
        ("", None),
        ("  \n", None),
        ("I do not know.", None),
        ("With great pleasure! Update me on this.", None),
        ("```sql\n```", None),
    ],
)
def test_extract_sql(answer: str, sql: str | None) -> None:
    assert extract_sql(answer) == sql


CONTEXT = "CREATE TABLE t (a TEXT, b INT); INSERT INTO t VALUES ('x', 2), ('y', 1), ('z', 1);"


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT a FROM t ORDER BY b", [(1,), (1,), (2,)]),
        ("SELECT a, b AS k FROM t ORDER BY k DESC", [(2,), (1,), (1,)]),
        ("SELECT b AS a, a AS n FROM t ORDER BY a, 2 DESC", [(1, "z"), (1, "y"), (2, "x")]),
        ("SELECT *, b FROM t ORDER BY b + 1", [(2,), (2,), (3,)]),
        ("SELECT b, count(*) FROM t GROUP BY b ORDER BY count(*) DESC", [(2,), (1,)]),
    ],
)
def test_order_keys_follow_the_rows(sql: str, keys: list[tuple]) -> None:
    query, count = order_keys_query(sql)
    with Sandbox() as sandbox:
        rows = sandbox.run(query, context=CONTEXT).rows
        gold = sandbox.run(sql, context=CONTEXT).rows
    assert [row[-count:] for row in rows] == keys
    assert sorted(row[:-count] for row in rows) == sorted(gold)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "SELECT DISTINCT a FROM t ORDER BY b",
        "SELECT a FROM t UNION SELECT b FROM t ORDER BY 1",
        "SELECT *, b FROM t ORDER BY 2",
        "SELECT FROM ORDER BY",
        "SELECT a FROM t ORDER BY 7",
    ],
)
def test_order_keys_that_cannot_be_had(sql: str) -> None:
    assert order_keys_query(sql) is None


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_every_writing_of_spider_s_gold_queries_has_one_form(shared_data: Path, step: int) -> None:
    """The 564 different queries of Spider's dev set, each written in up to nine other ways."""
    folder = shared_data / "spider"
    if not (folder / "dev.json").is_file():
        pytest.skip("no Spider at ../shared/data/spider")
    schemas = {
        entry["db_id"]: schema_of_entry(entry) for entry in read_json(folder / "tables.json")
    }
    golds = {(row["db_id"], row["query"]) for row in read_json(folder / "dev.json")}
    assert len(golds) == 564
    for db_id, sql in sorted(golds)[::step]:
        known = {
            table.lower(): {column.lower() for column in columns}
            for table, columns in schemas[db_id].items()
        }
        form = normalize(sql, "sqlite", known)
        assert form != fold(sql), "not parsed"
        for other in [*rewritten(sql), qualified(sql, schemas[db_id])]:
            assert normalize(other, "sqlite", known) == form, other


@pytest.mark.slow
def test_no_two_queries_over_spider_s_databases_that_differ_are_one(
    shared_data: Path, tmp_path: Path
) -> None:
    """Gold queries of one database against each other and against their own mutants."""
    from kerasft.data.spider_databases import build_spider_databases
    from kerasft.data.spider_databases.mutants import mutants
    from kerasft.data.spider_databases.queries import parse
    from kerasft.data.spider_databases.schema import database_of

    folder = shared_data / "spider"
    if not (folder / "dev.json").is_file():
        pytest.skip("no Spider at ../shared/data/spider")
    build_spider_databases(folder / "tables.json", folder / "dev.json", tmp_path)
    entries = {entry["db_id"]: entry for entry in read_json(folder / "tables.json")}
    golds: dict[str, list[str]] = {}
    for row in read_json(folder / "dev.json"):
        golds.setdefault(row["db_id"], []).append(row["query"])
    compared, alike = 0, 0
    with Sandbox() as sandbox:
        for db_id, queries in golds.items():
            path = tmp_path / "database" / db_id / f"{db_id}.sqlite"
            known = columns_by_table(sandbox.schema(database=path))
            queries = list(dict.fromkeys(queries))
            forms = {sql: normalize(sql, "sqlite", known) for sql in queries}
            pairs = list(itertools.combinations(queries, 2))
            for sql in queries:
                for _, mutant in mutants(parse(sql), database_of(entries[db_id])):
                    text = mutant.sql(dialect="sqlite")
                    forms[text] = normalize(text, "sqlite", known)
                    pairs.append((sql, text))
            compared += len(pairs)
            for first, second in pairs:
                if forms[first] == forms[second]:
                    alike += 1
                    results = [sandbox.run(sql, database=path) for sql in (first, second)]
                    assert [result.status for result in results] == ["ok", "ok"], (first, second)
                    assert results[0].rows == results[1].rows, (first, second)
    assert compared > 10_000
    assert alike > 10


def read_json(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def schema_of_entry(entry: dict) -> dict[str, dict[str, str]]:
    """Columns of every table of an entry of tables.json, each as text."""
    tables: dict[str, dict[str, str]] = {name: {} for name in entry["table_names_original"]}
    for table, column in entry["column_names_original"]:
        if table >= 0:
            tables[entry["table_names_original"][table]][column] = "text"
    return tables


def rewritten(sql: str) -> list[str]:
    """The query in other cases, spaces, quotes, aliases and operators."""
    parts = list(pieces(sql))
    return [
        "".join(part.text.swapcase() if part.kind == "word" else part.text for part in parts),
        "".join(" \n\t" if part.kind == "space" else part.text for part in parts) + " ;",
        "/* a */ " + sqlglot.parse_one(sql, read="sqlite").sql("sqlite", pretty=True) + " -- b",
        sql.replace("!=", "<>") if "!=" in sql else sql.replace("<>", "!="),
        sql.replace(" AS T", " T").replace(" as t", " t"),
        "".join(
            f"table_{part.text}" if part.text.upper() in ("T1", "T2", "T3", "T4") else part.text
            for part in parts
        ),
        in_quotes(sql, '"'),
        in_quotes(sql, "'"),
    ]


def in_quotes(sql: str, quote: str) -> str:
    """The query with this quote around its strings; in Spider those in double quotes are text."""
    return "".join(
        quote + part.text[1:-1] + quote
        if part.kind in ("string", "name") and not set("'\"") & set(part.text[1:-1])
        else part.text
        for part in pieces(sql)
    )


def qualified(sql: str, schema: dict[str, dict[str, str]]) -> str:
    """The query as sqlglot's optimizer qualifies it: every name quoted, everything aliased."""
    tree = sqlglot.parse_one(in_quotes(sql, "'"), read="sqlite")
    options = {"expand_stars": False, "validate_qualify_columns": False}
    return qualify(tree, schema=schema, dialect="sqlite", **options).sql("sqlite")
