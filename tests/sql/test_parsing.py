"""What sqlglot is given to read, and what it is spared."""

import pytest
from sqlglot import exp

from kerasft.sql.contexts import sqlite_query, sqlite_script
from kerasft.sql.lexical import fold
from kerasft.sql.normalize import normalize, order_keys_query
from kerasft.sql.parsing import MOST_OPEN_JOINS, parse

LOOP = "SELECT * FROM t" + " JOIN t" * 60  # 2 ** 60 ways to sqlglot
NESTED = "SELECT * FROM t" + " JOIN t JOIN u ON a = b" * 60


@pytest.mark.parametrize("sql", [LOOP, NESTED, LOOP + " ON a = b" * 60])
def test_a_model_that_repeats_a_join_holds_nothing_up(sql: str) -> None:
    with pytest.raises(ValueError, match="joins without a condition"):
        parse(sql, "sqlite")
    assert normalize(sql) == fold(sql)
    assert order_keys_query(sql + " ORDER BY 1") is None
    assert sqlite_query(sql) == sql
    assert len(sqlite_script(f"CREATE VIEW v AS {sql};").skipped) == 1


@pytest.mark.parametrize(
    "joins",
    [
        " JOIN t" * MOST_OPEN_JOINS,
        " JOIN t ON a = b" * 60,
        " LEFT JOIN t USING (a)" * 60,
        " CROSS JOIN t" * 60,
        " NATURAL JOIN t" * 60,
        ", t" * 60,
    ],
)
def test_joins_as_people_write_them_are_read(joins: str) -> None:
    (tree,) = parse(f"SELECT * FROM t{joins}", "sqlite")
    count = joins.count("JOIN") or joins.count(",")
    assert len(list(tree.find_all(exp.Table))) == count + 1
