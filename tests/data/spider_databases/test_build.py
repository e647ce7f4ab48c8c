"""Databases that are built speak: gold queries of every form find rows, and keys hold."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kerasft.data.spider_databases.build import build_database, speaks
from kerasft.data.spider_databases.queries import evidence, parse
from kerasft.data.spider_databases.schema import database_of
from kerasft.data.spider_databases.ties import cuts_through_tie
from kerasft.sql.sandbox import Outcome, Sandbox

_BOTH = (
    "FROM singer AS T1 JOIN singer_in_concert AS T2 ON T1.Singer_ID = T2.Singer_ID "
    "JOIN concert AS T3 ON T2.Concert_ID = T3.Concert_ID"
)
QUERIES = (
    'SELECT Name FROM singer WHERE Country = "Ruritania"',
    "SELECT Name FROM singer WHERE Country = 'Ruritania' AND Age > 90",
    "SELECT avg(Age) FROM singer WHERE Country = 'Syldavia' AND Age BETWEEN 3 AND 4",
    "SELECT Title FROM concert WHERE Title LIKE '%Hey%' AND Year = 1931",
    f"SELECT T1.Name {_BOTH} WHERE T3.Year = '2014' AND T1.Country != 'Ruritania'",
    f"SELECT T1.Name {_BOTH} WHERE T3.Year = 2014 INTERSECT SELECT T1.Name {_BOTH} "
    "WHERE T3.Year = 2015",
    f"SELECT T1.Name {_BOTH} GROUP BY T1.Singer_ID HAVING count(*) >= 9",
    f"SELECT T1.Name {_BOTH} GROUP BY T1.Singer_ID ORDER BY count(*) DESC LIMIT 1",
    "SELECT Country FROM singer GROUP BY Country HAVING avg(Age) < 5",
    "SELECT Name FROM singer WHERE Singer_ID NOT IN (SELECT Singer_ID FROM singer_in_concert)",
    "SELECT Name FROM singer EXCEPT SELECT T1.Name " + _BOTH,
    "SELECT Name FROM singer WHERE Age < (SELECT avg(Age) FROM singer WHERE Country = 'Borduria')",
    "SELECT Name FROM singer WHERE Singer_ID IN (SELECT Singer_ID FROM singer_in_concert "
    "WHERE Concert_ID = 77)",
    "SELECT Name FROM singer ORDER BY Age DESC LIMIT 3",
    "SELECT count(*) FROM singer WHERE Age = 101 OR Country = 'Poldavia'",
)


@pytest.fixture
def built(tmp_path: Path, entry: dict[str, Any]) -> Path:
    path = tmp_path / "music.sqlite"
    with Sandbox() as sandbox:
        build_database(entry, QUERIES, path, 5, sandbox)
    return path


def test_every_query_finds_its_own_literals(built: Path) -> None:
    with Sandbox() as sandbox:
        for sql in QUERIES:
            assert speaks(sandbox.run(sql, database=built)), sql


def test_no_limit_cuts_through_a_tie(built: Path) -> None:
    with Sandbox() as sandbox:

        def run(sql: str) -> Outcome:
            return sandbox.run(sql, database=built)

        assert not any(cuts_through_tie(parse(sql), run) for sql in QUERIES)
        tie = parse("SELECT Name FROM singer ORDER BY Age > 0 LIMIT 1")
        assert cuts_through_tie(tie, run)


def test_keys_hold_and_links_find_their_partners(built: Path) -> None:
    with closing(sqlite3.connect(built)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        pairs = connection.execute("SELECT * FROM singer_in_concert").fetchall()
    assert len(set(pairs)) == len(pairs)
    assert len({concert for concert, _ in pairs}) < len(pairs)  # the key was widened


def test_one_seed_gives_one_file(built: Path, tmp_path: Path, entry: dict[str, Any]) -> None:
    again, other = tmp_path / "again.sqlite", tmp_path / "other.sqlite"
    with Sandbox() as sandbox:
        build_database(entry, QUERIES, again, 5, sandbox)
        build_database(entry, QUERIES, other, 6, sandbox)
    assert again.read_bytes() == built.read_bytes() != other.read_bytes()


def test_a_database_without_queries_is_filled_all_the_same(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    path = tmp_path / "music.sqlite"
    with Sandbox() as sandbox:
        build_database(entry, ["this is no SQL"], path, 0, sandbox)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("singer", "concert", "singer_in_concert"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] > 5
        nulls = connection.execute("SELECT COUNT(*) FROM singer WHERE Age IS NULL").fetchone()[0]
        ages = [age for (age,) in connection.execute("SELECT Age FROM singer")]
    assert nulls or None in ages or len(set(ages)) < len(ages)  # something to trip over


def test_a_key_that_is_a_link_is_widened_where_queries_count_its_rows(
    entry: dict[str, Any],
) -> None:
    single = {**entry, "foreign_keys": [[8, 5]]}
    assert database_of(single).tables["singer_in_concert"].key == ("concert_id",)
    counts = parse(
        "SELECT T1.Title, count(*) FROM concert AS T1 JOIN singer_in_concert AS T2 "
        "ON T1.Concert_ID = T2.Concert_ID GROUP BY T1.Concert_ID"
    )
    found = evidence([counts], database_of(single).tables)
    assert database_of(single, found).tables["singer_in_concert"].key == (
        "concert_id",
        "singer_id",
    )
    # A join on a key that the schema does not declare is a link as well.
    joins = parse(
        "SELECT * FROM singer AS a JOIN singer_in_concert AS b ON a.Singer_ID = b.Singer_ID"
    )
    found = evidence([joins], database_of(single).tables)
    assert database_of(single, found).tables["singer_in_concert"].links["singer_id"] == (
        "singer",
        "singer_id",
    )
