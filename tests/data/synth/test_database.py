import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerasft.data.synth import generate_from_database
from kerasft.errors import DataError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small database with an awkward file name, a keyword as a table, and a time of day."""
    path = tmp_path / "my shop #1 50%.db"
    towns = ["Cork", "Oslo", "Lima"]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE Customer (CustomerId INTEGER PRIMARY KEY, Name TEXT, Town TEXT, "
            "Photo BLOB)"
        )
        connection.execute(
            'CREATE TABLE "Order" (OrderId INTEGER PRIMARY KEY, CustomerId INTEGER REFERENCES '
            'Customer, PlacedAt DATETIME, "Net Amount" REAL)'
        )
        connection.execute('CREATE TABLE "Nothing" (a TEXT)')
        for number in range(1, 13):
            connection.execute(
                "INSERT INTO Customer VALUES (?, ?, ?, ?)",
                (number, f"Customer {'ABCDEFGHIJKL'[number - 1]}", towns[number % 3], b"\x00"),
            )
        for number in range(1, 31):
            connection.execute(
                'INSERT INTO "Order" VALUES (?, ?, ?, ?)',
                (
                    number,
                    number % 9 + 1,
                    f"2023-0{number % 9 + 1}-{number:02d} 14:30:00",
                    number * 1.5,
                ),
            )
    return path


def test_rows_run_on_the_database_and_leave_it_as_it_was(shop: Path) -> None:
    before = hashlib.sha256(shop.read_bytes()).hexdigest()
    rows = list(generate_from_database(shop, 60, seed=3))
    assert rows == list(generate_from_database(shop, 60, seed=3))
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == before
    assert [path.name for path in shop.parent.iterdir()] == [shop.name]
    with closing(sqlite3.connect(shop)) as connection:
        for row in rows:
            result = connection.execute(row["sql"]).fetchall()
            assert any(cell is not None for line in result for cell in line), row
    assert any('"Order"' in row["sql"] and "JOIN" in row["sql"] for row in rows)
    assert all("Nothing" not in row["sql_context"] for row in rows)


def test_a_context_builds_the_tables_of_its_query(shop: Path) -> None:
    for row in generate_from_database(shop, 40):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(row["sql_context"])
            connection.execute(row["sql"])


def test_a_bound_on_a_timestamp_is_a_day(shop: Path) -> None:
    dated = [
        row["sql"]
        for row in generate_from_database(shop, 90, seed=5)
        if row["pattern"] == "filter_date"
    ]
    assert dated
    assert all("DATE(PlacedAt)" in sql for sql in dated)


def test_too_many_rows_for_a_small_schema(tmp_path: Path) -> None:
    path = tmp_path / "colors.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE color (name TEXT, tone TEXT)")
        connection.execute("INSERT INTO color VALUES ('red', 'warm'), ('blue', 'cold')")
    with pytest.raises(DataError, match=r"Ask for [1-9]\d* rows at most"):
        list(generate_from_database(path, 500))


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    with pytest.raises(DataError, match="is not there"):
        list(generate_from_database(path, 1))
    assert not path.exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("these are words, not pages of a database\n" * 100)
    with pytest.raises(DataError, match="cannot be read as a SQLite database"):
        list(generate_from_database(path, 1))


def test_a_database_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b TEXT)")
    with pytest.raises(DataError, match="no table with rows"):
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
