"""What statements do, how many there are, and what an engine found wrong with one.

All of it is told from the words alone, so that it answers also for SQL that no parser takes.
"""

import re
from typing import Literal

from kerasft.sql.lexical import extract_sql, first_statement, pieces

StatementKind = Literal["read", "write", "schema"]
FaultKind = Literal["syntax_error", "missing_table", "missing_column", "invalid_sql"]

_VERBS: dict[str, StatementKind] = {
    **dict.fromkeys(("SELECT", "VALUES", "EXPLAIN", "PRAGMA", "SHOW", "DESCRIBE"), "read"),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "TRUNCATE"), "write"),
    **dict.fromkeys(("CREATE", "DROP", "ALTER", "RENAME"), "schema"),
}
_STRENGTH: tuple[StatementKind, ...] = ("read", "write", "schema")

# Messages of SQLite 3.40 to 3.50 and DuckDB 1.1 to 2.0. The first that matches counts: a
# column of an unknown table alias is a missing column to SQLite and a missing table to DuckDB.
_FAULTS: tuple[tuple[FaultKind, str], ...] = (
    ("missing_table", r"no such (?:table|view)"),
    ("missing_table", r"(?:Table|View) with name .* does not exist"),
    ("missing_table", r"Referenced table .* not found"),
    ("missing_column", r"no such column"),
    ("missing_column", r"has no column named"),
    ("missing_column", r"unknown column .* in foreign key"),
    ("missing_column", r"cannot join using column .* - column not present"),
    ("missing_column", r"Referenced (?:update )?column .* not found"),
    ("missing_column", r"does not have a column (?:named|with name)"),
    ("missing_column", r"Column .* does not exist on"),
    ("syntax_error", r"syntax error"),
    ("syntax_error", r"incomplete input"),
    ("syntax_error", r"unrecognized token"),
    ("syntax_error", r"Parser Error"),
)
_FAULT_PATTERNS = tuple(
    (kind, re.compile(text, re.IGNORECASE | re.DOTALL)) for kind, text in _FAULTS
)


def statement_kind(sql: str) -> StatementKind:
    """Whether SQL reads, writes rows, or changes tables; of several statements the strongest.

    A statement that begins with no verb known here reads: it then runs where nothing can be
    written, and the engine says what it makes of it.
    """
    kinds: list[StatementKind] = ["read"]
    depth, searching, common_tables = 0, True, False
    for piece in pieces(sql):
        if piece.text in ("(", ")"):
            depth += 1 if piece.text == "(" else -1
        elif piece.text == ";":
            depth, searching, common_tables = 0, True, False
        elif piece.kind == "word" and searching:
            word = piece.text.upper()
            if word == "WITH":
                common_tables = True
            elif word in _VERBS and not (common_tables and depth):
                kinds.append(_VERBS[word])
                searching = False
            elif not common_tables:
                searching = False
    return max(kinds, key=_STRENGTH.index)


def is_script(sql: str) -> bool:
    """Whether there is more than one statement."""
    return bool(_rest(sql, first_statement(sql)))


def extract_script(answer: str) -> str | None:
    """The first statement in a model's answer and those that follow it at once, or None."""
    statement = extract_sql(answer)
    if statement is None:
        return None
    taken = [statement]
    rest = _rest(answer, statement)
    while (following := extract_sql(rest)) is not None and rest.startswith(following):
        taken.append(following)
        rest = _rest(rest, following)
    return "\n".join(taken)


def predicted_sql(gold_sql: str, answer: str) -> str | None:
    """The SQL in an answer that is held against the gold SQL; None if there is none.

    One statement, or a script where the gold SQL is one.
    """
    return (extract_script if is_script(gold_sql) else extract_sql)(answer)


def _rest(text: str, statement: str) -> str:
    """What follows a statement that the text holds, without space and empty statements."""
    return text[text.find(statement) + len(statement) :].lstrip(" \t\r\n;")


def fault_kind(message: str) -> FaultKind:
    """What an engine's message about invalid SQL complains of; `invalid_sql` for anything else."""
    for kind, pattern in _FAULT_PATTERNS:
        if pattern.search(message):
            return kind
    return "invalid_sql"
