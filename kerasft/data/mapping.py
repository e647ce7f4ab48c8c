"""From the columns of a source to the columns of a task, and what a value must be.

Line ends inside a value become LF. A value that is empty where it must not be, is
not text, or holds a NUL or half a character is a fault.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasft.data.columns import COLUMNS, EXTRAS, Column
from kerasft.data.files import Record
from kerasft.data.turns import conversation
from kerasft.errors import DataError, collected
from kerasft.recipe import DataSettings

Row = dict[str, Any]
"""A row: text by column, or a list of messages under `messages`."""

_PLAIN = (str, list, type(None))


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of the source fills which column of the task."""

    task_columns: Mapping[str, Column]
    named: dict[str, str]
    only_empty: list[str]
    schemas: Mapping[str, str] | None

    @classmethod
    def resolve(
        cls,
        first: Mapping[str, Any],
        settings: DataSettings,
        task: str,
        schemas: Mapping[str, str] | None,
    ) -> "ColumnMapping":
        """From the columns of the first row.

        A column that holds no text is not taken by its name alone: Spider's `sql` is a
        parse tree, its `query` the SQL.

        Raises:
            DataError: a column that is asked for or needed is not there.
        """
        there = list(first)
        kind = _kind(there, settings, task)
        columns = COLUMNS[kind]
        faults = [
            f"data.columns: {name!r} is no column of {task}{_near(name, list(columns))}; "
            f"they are {', '.join(columns)}"
            for name in settings.columns
            if name not in columns
        ]
        named: dict[str, str] = {}
        for name, column in columns.items():
            given = settings.columns.get(name)
            if given == "" and column.empty:
                continue  # the recipe says that the source has none
            if given is None and name == "context" and schemas is not None:
                if "db_id" not in there:
                    faults.append("data.schemas needs a column 'db_id'")
                continue
            candidates = column.aliases if given is None else (given,)
            matches = [each for each in candidates if each in first]
            if matches:
                named[name] = min(matches, key=lambda each: not isinstance(first[each], _PLAIN))
            elif given is not None or column.required:
                faults.append(_missing(name, given, column, there))
        known = [*columns, *there]
        faults += [
            f"data.only_empty: there is no column {name!r}{_near(name, known)}"
            for name in settings.only_empty
            if name not in known
        ]
        if faults:
            raise DataError(
                collected(
                    f"{settings.source} does not have the columns of {task}; "
                    f"it has {', '.join(there) or 'none'}",
                    faults,
                )
            )
        return cls(columns, named, settings.only_empty, schemas)

    def row(self, record: Record, faults: list[str]) -> Row | None:
        """The task's row; None where only_empty leaves it out or it has faults."""
        row: Row = {}
        found: list[str] = []
        for name, column in self.task_columns.items():
            source = self.named.get(name)
            if source is None:
                row[name] = ""
            elif source not in record.values and column.required:
                found.append(f"no column {source!r}; it has {', '.join(record.values)}")
            elif name == "messages":
                row[name] = _messages(record.values[source], found)
            else:
                row[name] = _text(record.values.get(source), source, column, found)
        if self.schemas is not None and "context" not in self.named and "context" in row:
            db_id = record.values.get("db_id")
            if db_id in self.schemas:
                row["context"] = self.schemas[db_id]
            else:
                found.append(f"data.schemas has no database {db_id!r}")
        faults.extend(f"{record.where}: {fault}" for fault in found)
        if found or any(_filled(name, row, record) for name in self.only_empty):
            return None
        for extra in EXTRAS:
            value = record.values.get(extra)
            if value is not None and extra not in row:
                row[extra] = value if isinstance(value, str) else str(value)
        return row


def _kind(there: Sequence[str], settings: DataSettings, task: str) -> str:
    """`chat` for a source of messages, else the task."""
    if "messages" in settings.columns:
        return "chat"
    required = [column for column in COLUMNS[task].values() if column.required]
    fits = any(alias in there for column in required for alias in column.aliases)
    return "chat" if "messages" in there and not settings.columns and not fits else task


def _text(value: Any, name: str, column: Column, faults: list[str]) -> str:
    if value is None:
        value = ""
    if not isinstance(value, str):
        faults.append(f"column {name!r}: expected text, got {type(value).__name__}")
        return ""
    fault = _unusable(value)
    if fault:
        faults.append(f"column {name!r} {fault}")
    elif not column.empty and not value.strip():
        faults.append(f"column {name!r} is empty")
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _unusable(text: str) -> str | None:
    if "\x00" in text:
        return f"holds a NUL at {text.index(chr(0))}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair at {error.start}"
    return None


def _messages(value: Any, faults: list[str]) -> list[dict[str, str]]:
    if isinstance(value, str):  # a CSV has lists only as text
        try:
            value = json.loads(value)
        except ValueError as error:
            faults.append(f"messages: not JSON: {error}")
            return []
    try:
        found = conversation(value)
    except DataError as error:
        faults.append(str(error))
        return []
    wrong = [fault for _, content in found if (fault := _unusable(content))]
    faults.extend(f"messages: a message {fault}" for fault in wrong)
    if "assistant" not in [role for role, _ in found]:
        faults.append("messages: no assistant message, so nothing to learn")
    return [{"role": role, "content": content.replace("\r\n", "\n")} for role, content in found]


def _filled(name: str, row: Row, record: Record) -> bool:
    value = row[name] if name in row else record.values.get(name)
    return bool(value.strip() if isinstance(value, str) else value)


def _missing(name: str, given: str | None, column: Column, there: Sequence[str]) -> str:
    if given is not None:
        return f"data.columns.{name} = {given!r}: there is no such column{_near(given, there)}"
    hint = next((near for alias in column.aliases if (near := _near(alias, there))), "")
    fault = f"no column for {name!r} (looked for {', '.join(column.aliases)}){hint}"
    if "db_id" in there and name == "context":
        return f"{fault}; rows with a db_id take it from Spider's tables.json: set data.schemas"
    none = f', or {name} = "" if there is none' if column.empty else ""
    return f"{fault}; name it in data.columns{none}"


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), [each.lower() for each in known], n=1)
    spelt = [each for each in known if near and each.lower() == near[0]]
    return f"; did you mean {spelt[0]!r}?" if spelt else ""
