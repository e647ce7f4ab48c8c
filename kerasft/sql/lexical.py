"""SQL as text: its lexical pieces, where a statement is in an answer, whether it orders.

These look at quotes, comments and parentheses only, so that they answer for any text, also
for SQL that no parser takes.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

_PIECES = re.compile(
    r"""
    (?P<string>'(?:[^']|'')*(?:'|\Z))
  | (?P<name>"(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) | \[[^\]]*(?:\]|\Z))
  | (?P<comment>--[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<space>\s+)
  | (?P<word>\w+)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_FENCE = re.compile(r"```[^\S\n]*(?:[\w+-]*[^\S\n]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
# A verb alone is also an English word ("With", "Update", "Select"), so that all but SELECT
# need what must follow them.
_STATEMENT = r"""
    (?: SELECT\b
      | WITH\s+(?:RECURSIVE\s+)?["`\[]?\w+["`\]]?\s*(?:\([^)]*\)\s*)?
        AS\s*(?:NOT\s+)?(?:MATERIALIZED\s*)?\(
      | VALUES\s*\(
      | INSERT\s+(?:INTO|OR)\b | REPLACE\s+INTO\b | DELETE\s+FROM\b
      | UPDATE\s+(?:OR\s+\w+\s+)?\S+\s+(?:AS\s+\w+\s+)?SET\b | MERGE\s+INTO\b
      | (?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|UNIQUE|VIRTUAL|MATERIALIZED)\s+)?
        (?:TABLE|VIEW|INDEX|TRIGGER|SCHEMA|DATABASE|FUNCTION|PROCEDURE)\b
      | ALTER\s+TABLE\b | PRAGMA\s+\w | EXPLAIN\s+\w | ATTACH\s+\S | VACUUM\b | TRUNCATE\s+TABLE\b
    )
"""
# What only DuckDB takes, and what is prose or the middle of a statement anywhere but at the start.
_DUCKDB_STATEMENT = r"""
    (?: FROM\s+[\w."]+(?:\s+AS\s+\w+)?\s*
        (?: ;|\Z|(?:SELECT|WHERE|GROUP|ORDER|LIMIT|(?:LEFT|RIGHT|FULL|INNER|CROSS|ASOF)?\s*JOIN)\b)
      | FROM\s*\(\s*(?:SELECT|VALUES|WITH|FROM)\b
      | (?:UN)?PIVOT\s+\S+\s+(?:ON|USING)\b
      | (?:SUMMARIZE|DESCRIBE|TABLE)\s+[\w."]+\s*(?:;|\Z)
    )
"""
_AT_START = re.compile(
    rf"\s*(?:\(\s*)*(?:{_STATEMENT}|{_DUCKDB_STATEMENT})", re.VERBOSE | re.IGNORECASE
)
_AT_LINE = re.compile(rf"^[^\S\n]*{_STATEMENT}", re.VERBOSE | re.IGNORECASE | re.MULTILINE)
_UPPER = re.compile(rf"\b{_STATEMENT}", re.VERBOSE)
_ANYWHERE = re.compile(rf"\b{_STATEMENT}", re.VERBOSE | re.IGNORECASE)


class Piece(NamedTuple):
    """One lexical piece: a quoted string, a quoted name, a comment, space, a word or a mark."""

    kind: Literal["string", "name", "comment", "space", "word", "mark"]
    text: str


def pieces(sql: str) -> Iterator[Piece]:
    """The pieces of a text, which joined give the text again."""
    for match in _PIECES.finditer(sql):
        yield Piece(match.lastgroup, match.group())


def fold(sql: str) -> str:
    """SQL with spaces and comments as one space, and lower case outside quotes."""
    kept = []
    for piece in pieces(sql):
        if piece.kind in ("space", "comment"):
            kept.append(" ")
        else:
            kept.append(piece.text if piece.kind in ("string", "name") else piece.text.lower())
    return re.sub(r"(?: *;)+\Z", "", _squeeze(kept))


def _squeeze(parts: list[str]) -> str:
    """Joined, with one space where several stand beside each other and none at the ends."""
    squeezed: list[str] = []
    for part in parts:
        if part != " " or (squeezed and squeezed[-1] != " "):
            squeezed.append(part)
    return "".join(squeezed).strip(" ")


def ordered_outermost(sql: str) -> bool:
    """Whether the outermost query orders its result.

    Ordering inside parentheses (a subquery, a common table expression, a window, an
    aggregate) orders no result.
    """
    depth, last = 0, ""
    for piece in pieces(sql):
        if piece.text in ("(", ")"):
            depth += 1 if piece.text == "(" else -1
        if piece.kind in ("space", "comment"):
            continue
        word = piece.text.upper() if piece.kind == "word" else ""
        if depth == 0 and (last, word) == ("ORDER", "BY"):
            return True
        last = word
    return False


def first_statement(sql: str) -> str:
    """The text up to and with the first semicolon outside quotes and comments."""
    taken = []
    for piece in pieces(sql):
        taken.append(piece.text)
        if piece.text == ";" and any(text.strip(" \t\r\n;") for text in taken):
            break
    return "".join(taken).strip()


def extract_sql(answer: str) -> str | None:
    """The first SQL statement in a model's answer, or None if there is none.

    An answer that is SQL stays as it is, up to the end of its first statement. Else the first
    fenced block that holds a statement is taken, without prose before it; prose that begins
    with a verb of SQL can be mistaken for a statement. Prose after a statement without a
    semicolon is not told from SQL and stays.
    """
    fenced = [] if _start(answer) == _leading(answer) else _FENCE.findall(answer)
    for text in [*fenced, answer]:
        start = _start(text)
        if start is not None:
            statement = text[start:].split("```")[0]
            if text[:start].endswith("`"):  # inline code
                statement = statement.rpartition("`")[0] or statement
            return first_statement(statement)
    return None


def _leading(text: str) -> int:
    """Where the text begins after space and comments."""
    place = 0
    for piece in pieces(text):
        if piece.kind not in ("space", "comment"):
            break
        place += len(piece.text)
    return place


def _start(text: str) -> int | None:
    leading = _leading(text)
    if _AT_START.match(text, leading):
        return leading
    for pattern in (_AT_LINE, _UPPER, _ANYWHERE):
        if match := pattern.search(text):
            return match.start() + len(match.group()) - len(match.group().lstrip())
    return None
