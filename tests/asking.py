"""A writer of SQL without a model, and small databases to ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path


class CannedWriter:
    """Answers by question; the first text is the likeliest, all of them are the beam.

    A prompt is as long as its words.
    """

    def __init__(self, answers: Mapping[str, Sequence[str]], max_prompt_tokens: int = 1000) -> None:
        self.answers = answers
        self.max_prompt_tokens = max_prompt_tokens
        self.contexts: list[str] = []
        self.widths: list[int] = []

    def prompt_tokens(self, question: str, context: str) -> int:
        return len(f"{question} {context}".split())

    def stream(self, question: str, context: str) -> Iterator[str]:
        self.contexts.append(context)
        text = self.answers[question][0]
        yield from (text[:7], text[7:])

    def candidates(self, question: str, context: str, width: int) -> list[str]:
        self.widths.append(width)
        return list(self.answers[question][:width])


def shop(path: Path) -> Path:
    """Three tables in a chain, with NULL, binary, hostile and non-UTF-8 cells."""
    with closing(sqlite3.connect(path)) as built, built:
        built.executescript(
            """
            CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
            CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL
                REFERENCES customer(id), placed DATE, total REAL);
            CREATE TABLE odd (a TEXT, b BLOB);
            INSERT INTO customer VALUES (1, 'Ada', 'Oslo'), (2, 'Bo', NULL), (3, 'Cy', 'Oslo');
            INSERT INTO orders VALUES (1, 1, '2024-01-05', 10.5), (2, 1, '2024-02-01', 20),
                (3, 3, '2024-02-03', 5);
            INSERT INTO odd VALUES (char(27) || '[2J[red]x' || char(10) || 'y', x'00ff10'),
                (CAST(x'ff41' AS TEXT), zeroblob(20)), (char(8238) || 'abc', NULL);
            """
        )
    return path
