"""Rows over a user's own database, SQLite and DuckDB: read only, asked by its own words."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerasft.data.schema import schema_only
from kerasft.data.synth import generate_from_database
from kerasft.errors import DataError, SqlError
from kerasft.sql.sandbox import Sandbox

_TABLES = """
    CREATE TABLE Customer (CustomerId INTEGER PRIMARY KEY, Name TEXT, Town TEXT, Photo BLOB);
    CREATE TABLE "Order" (OrderId INTEGER PRIMARY KEY,
        CustomerId INTEGER REFERENCES Customer(CustomerId), PlacedAt {time}, "Net Amount" {amount});
    CREATE TABLE "Nothing" (a TEXT);
"""


def _fill(connection) -> None:
    towns = ["Cork", "Oslo", "Lima"]
    for number in range(1, 13):
        connection.execute(
            "INSERT INTO Customer VALUES (?, ?, ?, ?)",
            (number, f"Customer {'ABCDEFGHIJKL'[number - 1]}", towns[number % 3], b"\x00"),
        )
    for number in range(1, 31):
        placed = f"2023-0{number % 9 + 1}-{number:02d} 14:30:00".replace("02-30", "02-28")
        connection.execute(
            'INSERT INTO "Order" VALUES (?, ?, ?, ?)',
            (number, number % 9 + 1, placed, number * 1.5),
        )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small database with an awkward file name, a keyword as a table, and a time of day."""
    path = tmp_path / "my shop #1 50%.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_TABLES.format(time="DATETIME", amount="REAL"))
        _fill(connection)
    return path


@pytest.fixture
def duck_shop(tmp_path: Path) -> Path:
    """The same in DuckDB, with its own types."""
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "my shop.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(_TABLES.format(time="TIMESTAMP", amount="DECIMAL(8, 2)"))
        _fill(connection)
    return path


def test_rows_run_on_the_database_and_leave_it_as_it_was(shop: Path) -> None:
    before = hashlib.sha256(shop.read_bytes()).hexdigest()
    rows = list(generate_from_database(shop, 60, seed=3))
    assert rows[:20] == list(generate_from_database(shop, 20, seed=3))
    assert rows[:10] != list(generate_from_database(shop, 10, seed=4))
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == before
    assert [path.name for path in shop.parent.iterdir()] == [shop.name]
    with closing(sqlite3.connect(shop)) as connection:
        for row in rows:
            result = connection.execute(row["sql"]).fetchall()
            assert any(cell is not None for line in result for cell in line), row
    assert any('"Order"' in row["sql"] and "JOIN" in row["sql"] for row in rows)
    assert all("Nothing" not in row["sql"] for row in rows)


def test_duckdb_rows_run_in_duckdb(duck_shop: Path) -> None:
    rows = list(generate_from_database(duck_shop, 16, seed=3))
    assert rows[:3] == list(generate_from_database(duck_shop, 3, seed=3))
    assert {row["domain_description"] for row in rows} == {"The DuckDB database my shop."}
    with Sandbox("duckdb") as sandbox:
        for row in rows:
            outcome = sandbox.run(row["sql"], database=duck_shop)
            assert outcome.status == "ok" and outcome.rows, row
    assert any("JOIN" in row["sql"] for row in rows)
    assert any("ORDER BY" in row["sql"] for row in rows)
    assert all("NULLS" not in row["sql"] for row in rows)
    # SQLite's strftime takes its arguments the other way round.
    dated = [row["sql"] for row in rows if "STRFTIME" in row["sql"].upper()]
    assert all("'%" not in sql.upper().split("STRFTIME(")[1].split(",")[0] for sql in dated)


def test_duckdb_tables_outside_main_are_asked_about(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "x.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute('CREATE SCHEMA sales; CREATE TABLE sales."old order" (town TEXT, n INT)')
        connection.execute(
            "INSERT INTO sales.\"old order\" SELECT 'Town ' || (i % 4), i FROM range(20) AS t(i)"
        )
    rows = list(generate_from_database(path, 5))
    assert all('sales."old order"' in row["sql"] for row in rows)
    assert all('CREATE TABLE sales."old order"' in row["sql_context"] for row in rows)
    assert all(
        "old order" in row["sql_prompt"] and "sales" not in row["sql_prompt"] for row in rows
    )


def test_a_context_is_the_schema_that_its_query_needs(shop: Path) -> None:
    rows = list(generate_from_database(shop, 40))
    for row in rows:
        assert schema_only(row["sql_context"]) == row["sql_context"]
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(row["sql_context"])
            connection.execute(row["sql"])
    shown = {row["sql_context"].count("CREATE TABLE") for row in rows}
    assert shown >= {1, 3}  # some are as small as their query, some show the whole schema


def test_no_question_stands_twice(shop: Path) -> None:
    rows = list(generate_from_database(shop, 100))
    assert len({row["sql_prompt"].casefold() for row in rows}) == len(rows)


def test_a_bound_on_a_timestamp_is_a_day(shop: Path) -> None:
    dated = [
        row["sql"]
        for row in generate_from_database(shop, 90, seed=5)
        if row["pattern"] == "filter_date"
    ]
    assert dated
    assert all("DATE(PlacedAt)" in sql for sql in dated)


def test_values_without_a_literal_and_days_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE visit (name TEXT, day TEXT, price REAL, weight REAL)")
        connection.executemany(
            "INSERT INTO visit VALUES (?, ?, ?, ?)",
            [
                (f"Guest {i}", "0000-00-00" if i % 5 == 0 else f"2021-03-{i:02d}", i * 1.5, i / 0.3)
                for i in range(1, 25)
            ],
        )
        connection.execute("INSERT INTO visit VALUES ('Guest X', '2021-02-30', 1.0, 9e999)")
    rows = list(generate_from_database(path, 40))
    assert any("price" in row["sql"] for row in rows)
    assert all("inf" not in row["sql"].lower() for row in rows)


def test_names_in_any_script_are_words(tmp_path: Path) -> None:
    path = tmp_path / "läden.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE "Größe" (id INTEGER PRIMARY KEY, "名前" TEXT, "!" TEXT)')
        connection.execute('CREATE TABLE "!!!" (a TEXT)')
        rows = [(i, f"田中{i}") for i in range(1, 9)]
        connection.executemany("INSERT INTO \"Größe\" VALUES (?, ?, 'x')", rows)
        connection.execute("INSERT INTO \"!!!\" VALUES ('x')")
    questions = [row["sql_prompt"] for row in generate_from_database(path, 5)]
    assert all("größe" in question.lower() for question in questions)
    assert any("名前" in question for question in questions)


def test_too_many_rows_for_a_small_schema(tmp_path: Path) -> None:
    path = tmp_path / "colors.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE color (name TEXT, tone TEXT)")
        connection.execute("INSERT INTO color VALUES ('red', 'warm'), ('blue', 'cold')")
    with pytest.raises(DataError, match=r"Ask for [1-9]\d* rows at most"):
        list(generate_from_database(path, 500))


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    with pytest.raises(SqlError, match="does not exist"):
        list(generate_from_database(path, 1))
    assert not path.exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("these are words, not pages of a database\n" * 100)
    with pytest.raises(SqlError, match="neither an SQLite nor a DuckDB database"):
        list(generate_from_database(path, 1))


def test_a_damaged_file(shop: Path) -> None:
    content = shop.read_bytes()
    shop.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises((DataError, SqlError), match="read"):
        list(generate_from_database(shop, 1))


@pytest.mark.parametrize(
    "script, reason",
    [("CREATE TABLE a (b TEXT)", "no table with rows"), ("PRAGMA user_version = 1", "no table,")],
)
def test_nothing_to_ask_about(tmp_path: Path, script: str, reason: str) -> None:
    path = tmp_path / "empty.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(script)
    with pytest.raises(DataError, match=reason):
        list(generate_from_database(path, 1))


def test_chinook(shared_data: Path) -> None:
    path = shared_data / "chinook" / "chinook.db"
    if not path.is_file():
        pytest.skip("no chinook.db in ../shared/data")
    rows = list(generate_from_database(path, 200))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for row in rows:
            assert connection.execute(row["sql"]).fetchone() is not None
    assert len({row["pattern"] for row in rows}) >= 30
    assert any(row["sql_complexity"] == "multiple_joins" for row in rows)
