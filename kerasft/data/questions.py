"""Questions that a user wrote about a database of theirs, with the SQL that answers them."""

import hashlib
import json
from pathlib import Path

from kerasft.data.files import Record, read_file
from kerasft.data.mapping import Row
from kerasft.data.sources import Dataset, key_of
from kerasft.errors import DataError, collected
from kerasft.sql.describe import create_statements
from kerasft.sql.engine import engine_of
from kerasft.sql.sandbox import Sandbox

COLUMNS = ("question", "sql")
OPTIONAL = ("difficulty",)


def load_questions(path: str | Path, database: str | Path) -> Dataset:
    """Rows of text-to-SQL from a file of questions about one database.

    Args:
        path: JSON lines (or another data file) with `question` and `sql`, and `difficulty` if
            scores should be split by it. Other columns are left out.
        database: an SQLite or DuckDB file, which is only read.

    Returns:
        Rows with `question`, `sql`, `context` (the database's schema as CREATE TABLE
        statements, the same for all), `database` (its absolute path), and `difficulty` where
        the file has it.

    Raises:
        DataError: rows cannot be read or used, all faults at once with their lines; or the
            database has no table.
        SqlError: the database is missing or is none.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"there is no file {path}; expected JSON lines of question and sql")
    found = Path(database).expanduser().absolute()
    context = schema_text(found)
    faults: list[str] = []
    rows = []
    for record in read_file(file, faults):
        row = _row(record, faults)
        if row is not None:
            rows.append({**row, "context": context, "database": str(found)})
    if faults:
        raise DataError(collected(f"{path} has rows that cannot be used", faults))
    if not rows:
        raise DataError(f"{path} has no rows; expected JSON lines of question and sql")
    return Dataset(
        rows=rows,
        source=str(file),
        content_hash=_content_hash(rows),
        columns={name: name for name in COLUMNS},
        counts={
            "read": len(rows),
            "filtered": 0,
            "rows": len(rows),
            "repeated": len(rows) - len({key_of(row) for row in rows}),
        },
    )


def schema_text(database: Path) -> str:
    """The CREATE TABLE statements of a database file, as prompts have them.

    Raises:
        DataError: it has no table.
        SqlError: the file is missing or is no database.
    """
    engine = engine_of(database)
    with Sandbox(engine) as sandbox:
        schema = sandbox.schema(database=database)
    if not schema.tables:
        raise DataError(f"{database} has no table, so there is nothing to ask about")
    return create_statements(schema)


def _row(record: Record, faults: list[str]) -> Row | None:
    found = []
    for name in COLUMNS:
        value = record.values.get(name)
        if name not in record.values:
            found.append(f"no column {name!r}; it has {', '.join(record.values) or 'none'}")
        elif not isinstance(value, str):
            found.append(f"column {name!r}: expected text, got {type(value).__name__}")
        elif not value.strip():
            found.append(f"column {name!r} is empty")
    faults += [f"{record.where}: {fault}" for fault in found]
    if found:
        return None
    extras = {name: str(record.values[name]) for name in OPTIONAL if record.values.get(name)}
    return {**{name: record.values[name] for name in COLUMNS}, **extras}


def _content_hash(rows: list[Row]) -> str:
    """Over question, context and SQL of all rows; the database's place does not count."""
    digest = hashlib.sha256()
    for row in rows:
        values = [row["question"], row["context"], row["sql"]]
        digest.update(json.dumps(values, ensure_ascii=True).encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"
