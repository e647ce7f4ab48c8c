"""sqlglot behind one door: what it is not asked to read, and what it must not print."""

import logging
from typing import TYPE_CHECKING

from kerasft.sql.lexical import pieces

if TYPE_CHECKING:
    from sqlglot import exp

MOST_OPEN_JOINS = 8
"""Joins that wait for a condition at one place; each more doubles sqlglot's time (30.30)."""


def parse(sql: str, dialect: str) -> "list[exp.Expression]":
    """The statements of a text, without empty ones.

    A model that repeats itself writes JOIN after JOIN; sqlglot would read 20 of them, without
    conditions, for the better part of a minute, and nothing could stop it.

    Raises:
        ValueError: more than `MOST_OPEN_JOINS` joins wait for their condition.
        Exception: sqlglot's own errors, on odd input whatever its code runs into, and
            RecursionError where it is nested deeply.
    """
    if _open_joins(sql) > MOST_OPEN_JOINS:
        raise ValueError(f"more than {MOST_OPEN_JOINS} joins without a condition")
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns on stderr of what we refuse
    return [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]


def _open_joins(sql: str) -> int:
    """The most joins that wait for ON or USING at any place of the text."""
    most = waiting = 0
    last = ""
    for piece in pieces(sql):
        if piece.kind != "word":
            continue
        word = piece.text.upper()
        if word.endswith("JOIN") and last not in ("CROSS", "NATURAL"):
            waiting += 1
            most = max(most, waiting)
        elif word in ("ON", "USING"):
            waiting = max(waiting - 1, 0)
        last = word
    return most
