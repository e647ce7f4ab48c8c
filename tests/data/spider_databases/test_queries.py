"""What gold queries compare, and wrong queries near them."""

from typing import Any

import pytest

from kerasft.data.spider_databases.mutants import mutants
from kerasft.data.spider_databases.queries import parse, wanted
from kerasft.data.spider_databases.schema import Column, database_of
from kerasft.data.spider_databases.values import as_stored, matching, meeting, satisfies


def test_literals_are_found_at_their_columns(entry: dict[str, Any]) -> None:
    database = database_of(entry)
    sql = (
        'SELECT name FROM singer WHERE country = "France" AND 20 < age AND name LIKE "%Hey%" '
        "AND singer_id IN (SELECT T1.singer_id FROM singer_in_concert AS T1 JOIN concert AS T2 "
        "ON T1.concert_id = T2.concert_id WHERE T2.year IN (2014, -3) AND T1.concert_id = 7) "
        "ORDER BY age LIMIT 1"
    )
    found = wanted([parse(sql)], database)
    assert found.literals == {
        ("singer", "country"): [("=", "France")],
        ("singer", "age"): [(">", 20)],
        ("singer", "name"): [("like", "%Hey%")],
        ("concert", "year"): [("=", 2014), ("=", -3)],
        ("singer_in_concert", "concert_id"): [("=", 7)],
    }
    assert found.ranked == {("singer", "age")}
    assert ("singer_in_concert", "singer_id") in found.excluded


def test_a_quoted_name_that_is_a_column_is_no_text(entry: dict[str, Any]) -> None:
    query = parse('SELECT "Name" FROM singer WHERE "Country" = "Name"')
    assert wanted([query], database_of(entry)).literals == {}


def test_mutants_change_one_thing(entry: dict[str, Any]) -> None:
    tree = parse("SELECT max(Age) FROM singer WHERE Country = 'France' AND Age > 20")
    found = {(kind, query.sql("sqlite")) for kind, query in mutants(tree, database_of(entry))}
    assert ("where dropped", "SELECT MAX(Age) FROM singer") in found
    assert (
        "other aggregate",
        "SELECT MIN(Age) FROM singer WHERE Country = 'France' AND Age > 20",
    ) in found
    assert (
        "other operator",
        "SELECT MAX(Age) FROM singer WHERE Country = 'France' OR Age > 20",
    ) in found
    assert (
        "condition dropped",
        "SELECT MAX(Age) FROM singer WHERE Country = 'France'",
    ) in found
    assert tree.sql("sqlite") not in {sql for _, sql in found}


@pytest.mark.parametrize(
    "kind, value, operator, other, holds",
    [
        ("number", 30, ">", 20, True),
        ("number", 20, ">=", "20", True),
        ("text", "9", ">", 10, True),  # a TEXT column compares as text
        ("text", "a Hey b", "like", "%hey%", True),
        ("text", "x", "<>", "x", False),
        ("others", "T", "=", "T", True),
    ],
)
def test_comparisons_hold_as_in_sqlite(
    kind: str, value: Any, operator: str, other: Any, holds: bool
) -> None:
    column = Column("c", "c", kind)
    assert satisfies(column, value, operator, other) is holds


def test_values_about_a_literal() -> None:
    column = Column("Age", "age", "number")
    assert meeting(column, ">", 20) == [20, 21]
    assert meeting(column, "<=", 2014) == [2014, 2012]
    assert meeting(column, "=", "7") == [7]
    assert matching("%Hey%") == "Hey Star"
    assert as_stored(Column("y", "year", "text"), 2014) == "2014"
    assert as_stored(Column("y", "year", "number"), "007") == 7
    assert as_stored(Column("p", "phone", "text"), "007") == "007"
