"""Pairs of SQL as plain text: same normal form or not; and the text-level functions."""

import pytest

from kerasft.sql.normalize import extract_sql, normalize, order_keys_query, ordered_outermost
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


def pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(block.splitlines()) for block in text.strip().split("\n\n")]


@pytest.mark.parametrize(("first", "second"), pairs(SAME))
def test_same(first: str, second: str) -> None:
    assert normalize(first) == normalize(second)


@pytest.mark.parametrize(("first", "second"), pairs(DIFFERENT))
def test_different(first: str, second: str) -> None:
    assert normalize(first) != normalize(second)


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
