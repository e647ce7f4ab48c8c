"""Spider's `tables.json`: the schema of each database as CREATE TABLE statements."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.errors import DataError
from kerasft.sql.names import quoted

_TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "TIME", "boolean": "BOOLEAN"}


def load_schemas(path: Path) -> dict[str, str]:
    """The context of every database, by `db_id`.

    Raises:
        DataError: the file is missing or is no `tables.json`.
    """
    entries = load_entries(path)
    try:
        return {db_id: schema_of(entry) for db_id, entry in entries.items()}
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _not_schemas(path, error) from error


def load_entries(path: Path) -> dict[str, Mapping[str, Any]]:
    """The entries of `tables.json` as they stand, by `db_id`.

    Raises:
        DataError: the file is missing or is no `tables.json`.
    """
    try:
        return {entry["db_id"]: entry for entry in json.loads(path.read_bytes())}
    except OSError as error:
        raise DataError(
            f"data.schemas: {path} cannot be read: {error.strerror}; expected Spider's tables.json"
        ) from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _not_schemas(path, error) from error


def _not_schemas(path: Path, error: Exception) -> DataError:
    return DataError(
        f"data.schemas: {path} is not Spider's tables.json: {type(error).__name__} {error}"
    )


def schema_of(entry: Mapping[str, Any]) -> str:
    """One database of `tables.json` as CREATE TABLE statements, one a line.

    Names are the database's own, with its types, primary and foreign keys.
    """
    tables = [quoted(name) for name in entry["table_names_original"]]
    columns = [(table, quoted(name)) for table, name in entry["column_names_original"]]
    types = [_TYPES.get(kind, "BLOB") for kind in entry["column_types"]]
    lines: list[list[str]] = [[] for _ in tables]
    for (table, name), kind in zip(columns, types, strict=True):
        if table >= 0:  # the first entry is `*`, of no table
            lines[table].append(f"{name} {kind}")
    for table, names in _primary_keys(entry, columns).items():
        lines[table].append(f"PRIMARY KEY ({', '.join(names)})")
    for here, there in entry["foreign_keys"]:
        (table, name), (other, target) = columns[here], columns[there]
        lines[table].append(f"FOREIGN KEY ({name}) REFERENCES {tables[other]}({target})")
    return "\n".join(
        f"CREATE TABLE {table} ({', '.join(parts)});"
        for table, parts in zip(tables, lines, strict=True)
        if not table.startswith("sqlite_")  # SQLite's own, and not to be created
    )


def _primary_keys(entry: Mapping[str, Any], columns: list[tuple[int, str]]) -> dict[int, list[str]]:
    """Columns of the primary key, by table; composite keys are lists in some releases."""
    keys: dict[int, list[str]] = {}
    for key in entry["primary_keys"]:
        for index in key if isinstance(key, list) else [key]:
            table, name = columns[index]
            keys.setdefault(table, []).append(name)
    return keys
