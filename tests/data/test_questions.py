"""Questions over a user's database become rows with its schema and its path."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerasft.data.questions import load_questions
from kerasft.errors import DataError, SqlError
from kerasft.tasks.text_to_sql import score


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "my shop #1.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL);"
            "INSERT INTO item VALUES (1, 'pen', 2.5), (2, 'ink', 7.0);"
        )
    return path


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def test_rows_have_the_schema_and_run_on_the_file(shop: Path, tmp_path: Path) -> None:
    file = _write(
        tmp_path / "questions.jsonl",
        '{"question": "What costs more than 5?", "sql": "SELECT name FROM item WHERE price > 5", '
        '"difficulty": "easy", "by": "me"}',
        "",
        '{"question": "How many items?", "sql": "SELECT COUNT(*) FROM item"}',
    )
    dataset = load_questions(file, shop)
    assert dataset.rows == [
        {
            "question": "What costs more than 5?",
            "sql": "SELECT name FROM item WHERE price > 5",
            "difficulty": "easy",
            "context": "CREATE TABLE item (id INTEGER, name TEXT, price REAL, PRIMARY KEY (id));",
            "database": str(shop),
        },
        {
            "question": "How many items?",
            "sql": "SELECT COUNT(*) FROM item",
            "context": "CREATE TABLE item (id INTEGER, name TEXT, price REAL, PRIMARY KEY (id));",
            "database": str(shop),
        },
    ]
    assert dataset.counts["rows"] == 2
    # The task's own judgement runs both queries on the file, not on the empty schema.
    answers = ["SELECT name FROM item WHERE id = 2", "SELECT 0"]
    assert [each.execution_match for each in score(dataset.rows, answers)] == [True, False]


def test_the_hash_is_of_the_content_and_not_of_the_place(shop: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "q.jsonl", '{"question": "a", "sql": "SELECT 1"}')
    moved = tmp_path / "elsewhere.db"
    moved.write_bytes(shop.read_bytes())
    first = load_questions(file, shop).content_hash
    assert load_questions(file, moved).content_hash == first
    _write(file, '{"question": "a", "sql": "SELECT 2"}')
    assert load_questions(file, shop).content_hash != first


def test_all_faults_at_once_with_their_lines(shop: Path, tmp_path: Path) -> None:
    file = _write(
        tmp_path / "q.jsonl",
        '{"question": "a", "sql": "SELECT 1"}',
        '{"question": "a"',
        '{"question": "a", "query": "SELECT 1"}',
        '{"question": 5, "sql": " "}',
    )
    with pytest.raises(DataError) as caught:
        load_questions(file, shop)
    message = str(caught.value)
    assert "q.jsonl line 2: not JSON" in message
    assert "q.jsonl line 3: no column 'sql'; it has question, query" in message
    assert "q.jsonl line 4: column 'question': expected text, got int" in message
    assert "q.jsonl line 4: column 'sql' is empty" in message


def test_files_that_cannot_be_used(shop: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "q.jsonl", '{"question": "a", "sql": "SELECT 1"}')
    with pytest.raises(DataError, match="there is no file"):
        load_questions(tmp_path / "absent.jsonl", shop)
    with pytest.raises(SqlError, match="does not exist"):
        load_questions(file, tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
    with pytest.raises(SqlError, match="neither an SQLite nor a DuckDB database"):
        load_questions(file, file)
    empty = tmp_path / "empty.db"
    with closing(sqlite3.connect(empty)) as connection, connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(DataError, match="has no table"):
        load_questions(file, empty)
    with pytest.raises(DataError, match="has no rows"):
        load_questions(_write(tmp_path / "none.jsonl"), shop)


def test_duckdb(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "shop.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, price DECIMAL(6, 2))")
        connection.execute("INSERT INTO item VALUES (1, 2.5)")
    file = _write(tmp_path / "q.jsonl", '{"question": "a", "sql": "SELECT price FROM item"}')
    (row,) = load_questions(file, path).rows
    assert row["context"] == (
        "CREATE TABLE item (id INTEGER, price DECIMAL(6, 2), PRIMARY KEY (id));"
    )
    assert score([row], ["SELECT price FROM item WHERE id = 1"])[0].execution_match is True
