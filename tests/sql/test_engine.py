"""The engine of a file is told by its header, and nothing is opened that is not a database."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kerasft.errors import SqlError
from kerasft.sql.engine import engine_of

READ = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0).execute("SELECT * FROM t")
"""


def test_an_sqlite_file_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%d 'e.duckdb"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert engine_of(path) == "sqlite"


def test_a_duckdb_file_of_any_name(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "a b.sqlite"
    duckdb.connect(str(path)).close()
    assert engine_of(str(path)) == "duckdb"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"id,name\n", "neither"), (b"SQLite format 3", "neither")],
)
def test_what_is_no_database(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(SqlError, match=said):
        engine_of(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SqlError, match="does not exist"):
        engine_of(tmp_path / "a.db")
    with pytest.raises(SqlError, match="is a folder"):
        engine_of(tmp_path)


def test_the_caller_keeps_its_locks(tmp_path: Path) -> None:
    """Closing a file would drop the locks that this process holds on it."""
    path = tmp_path / "a.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("CREATE TABLE t (a)")
    writer.execute("BEGIN EXCLUSIVE")
    assert engine_of(path) == "sqlite"
    other = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True)
    writer.close()
    assert "locked" in other.stderr
