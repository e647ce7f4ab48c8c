"""Which database engine a file belongs to, told by its first bytes and not by its name."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

from kerasft.errors import SqlError

Engine = Literal["sqlite", "duckdb"]

HEADER_BYTES = 16
SQLITE_MAGIC = b"SQLite format 3\0"  # SQLite's file format, section 1.3
DUCKDB_MAGIC, DUCKDB_OFFSET = b"DUCK", 8  # DuckDB's storage header, after a checksum
READ_SECONDS = 30.0

# In a process of its own: closing a file drops every POSIX lock that this process holds on it,
# and whoever calls may have the database open.
_READ = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read(int(sys.argv[2])))"


def engine_of(path: str | Path) -> Engine:
    """The engine whose database file `path` is.

    Raises:
        SqlError: there is no such file, it cannot be read, it is empty, or it is neither an
            SQLite nor a DuckDB database.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        kind = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise SqlError(f"{path} {kind}; give the path of an SQLite or DuckDB file.")
    header = _header(file)
    if header == SQLITE_MAGIC:
        return "sqlite"
    if header[DUCKDB_OFFSET : DUCKDB_OFFSET + len(DUCKDB_MAGIC)] == DUCKDB_MAGIC:
        return "duckdb"
    if not header:
        raise SqlError(f"{path} is empty: no table was ever written to it.")
    raise SqlError(
        f"{path} is neither an SQLite nor a DuckDB database (it begins with {header!r}). Load "
        "other data into one first, for example `sqlite3 new.db '.import --csv data.csv data'`."
    )


def _header(file: Path) -> bytes:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _READ, str(file), str(HEADER_BYTES)],
            capture_output=True,
            timeout=READ_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SqlError(f"{file} could not be read: {error}") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SqlError(f"{file} could not be read: {reason}")
    return done.stdout
