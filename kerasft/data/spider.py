"""Spider's `tables.json`: the schema of each database as CREATE TABLE statements."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.errors import DataError

_TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "TIME", "boolean": "BOOLEAN"}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Keywords that SQLite takes for no table or column unless they are quoted.
_KEYWORD = re.compile(
    "add|all|alter|and|as|autoincrement|between|case|check|collate|commit|constraint|create|"
    "default|deferrable|delete|distinct|drop|else|escape|except|exists|foreign|from|group|having|"
    "if|in|index|insert|intersect|into|is|isnull|join|limit|not|nothing|notnull|null|on|or|order|"
    "primary|references|returning|select|set|table|then|to|transaction|union|unique|update|using|"
    "values|when|where",
    re.IGNORECASE,
)


def load_schemas(path: Path) -> dict[str, str]:
    """The context of every database, by `db_id`.

    Raises:
        DataError: the file is missing or is no `tables.json`.
    """
    try:
        entries = json.loads(path.read_bytes())
        return {entry["db_id"]: schema_of(entry) for entry in entries}
    except OSError as error:
        raise DataError(
            f"data.schemas: {path} cannot be read: {error.strerror}; expected Spider's tables.json"
        ) from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"data.schemas: {path} is not Spider's tables.json: {type(error).__name__} {error}"
        ) from error


def schema_of(entry: Mapping[str, Any]) -> str:
    """One database of `tables.json` as CREATE TABLE statements, one a line.

    Names are the database's own, with its types, primary and foreign keys.
    """
    tables = [_name(name) for name in entry["table_names_original"]]
    columns = [(table, _name(name)) for table, name in entry["column_names_original"]]
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


def _name(name: str) -> str:
    if _PLAIN_NAME.match(name) and not _KEYWORD.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'
