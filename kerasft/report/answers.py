"""Some of an evaluation's answers, right and wrong ones, to be read beside the known ones."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.tasks import TASKS

WRONG, RIGHT = 5, 3
"""Answers of each kind that a page shows."""

LONGEST = 1200
"""Characters of a text on a page."""

WHY = {
    "match": "the same result as the known answer",
    "wrong_rows": "runs, but gives other rows",
    "wrong_order": "runs, but gives the rows in another order",
    "wrong_columns": "runs, but gives other columns",
    "wrong_state": "runs, but leaves the database in another state",
    "gold_error": "not judged: the known answer itself fails",
    "context_error": "not judged: its database cannot be had",
    "no_sql": "there is no SQL in the answer",
    "syntax_error": "no valid SQL",
    "missing_table": "asks for a table that is not there",
    "missing_column": "asks for a column that is not there",
    "invalid_sql": "the database refuses it",
    "refused": "does what the sandbox does not allow",
    "timeout": "took too long",
    "memory": "took too much memory",
    "too_many_rows": "gives too many rows",
    "worker_died": "its process died",
}
"""Statuses of `kerasft.tasks.text_to_sql.Judgement` in words."""


@dataclass(frozen=True)
class Answered:
    """One row with the answers to it.

    Attributes:
        asked, context, expected: of the row; the context may be empty.
        sides: `tuned`, and `base` where it was scored.
    """

    asked: str
    context: str
    expected: str
    sides: Mapping[str, "Side"]


@dataclass(frozen=True)
class Side:
    """An answer: whether it is right (None: not judged, or no yes and no), and why."""

    text: str
    right: bool | None
    why: str


def chosen(task: str, path: Path) -> list[Answered]:
    """Answers of NAME.predictions.jsonl: wrong ones of every kind, then right ones.

    Where the task knows no right and wrong, the first rows. Among the right ones come those
    first that the base has wrong.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    columns = TASKS[task]
    lines = list(_lines(path))
    if not columns.PAIRED or not lines:
        return [_answered(task, line) for line in lines[: WRONG + RIGHT]]
    measure, side = columns.PAIRED[0], "tuned" if "tuned" in lines[0] else "base"
    wrong = [line for line in lines if line[side].get(measure) is False]
    right = [line for line in lines if line[side].get(measure) is True]
    gained = [line for line in right if line.get("base", {}).get(measure) is False]
    few = [*_in_turn(wrong, side)][:WRONG] + (_spread(gained) or _spread(right))
    return [_answered(task, line) for line in few]


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _in_turn(lines: Sequence[Mapping[str, Any]], side: str) -> Iterable[Mapping[str, Any]]:
    """One line of each status, the most frequent first, then another one of each."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        kinds.setdefault(str(line[side].get("status")), []).append(line)
    queues = [_spread(found, WRONG) for found in sorted(kinds.values(), key=len, reverse=True)]
    for turn in range(WRONG):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def _spread(lines: Sequence[Mapping[str, Any]], count: int = RIGHT) -> list[Mapping[str, Any]]:
    """Lines from all over the file: its beginning alone may be about one thing."""
    if len(lines) <= count:
        return list(lines)
    return [lines[place * len(lines) // count] for place in range(count)]


def _answered(task: str, line: Mapping[str, Any]) -> Answered:
    columns = TASKS[task]
    measure = columns.PAIRED[0] if columns.PAIRED else None
    context = line.get("context") if "context" in columns.PROMPT_COLUMNS else ""
    return Answered(
        asked=cut(str(line.get(columns.PROMPT_COLUMNS[0], ""))),
        context=cut(str(context or "")),
        expected=cut(str(line.get(columns.COMPLETION_COLUMN, ""))),
        sides={
            side: Side(
                text=cut(str(line[side].get("answer", ""))),
                right=line[side].get(measure) if measure else None,
                why=_why(line[side]),
            )
            for side in ("base", "tuned")
            if side in line
        },
    )


def in_words(why: str) -> str:
    """A status and a message, `wrong_rows: 1 row instead of 2`, with the status in words."""
    status, colon, message = why.partition(": ")
    return f"{WHY.get(status, status)}{colon}{message}"


def _why(judged: Mapping[str, Any]) -> str:
    if "status" in judged:
        status = judged["status"]
        why = WHY.get(status, str(status).replace("_", " "))
        if judged.get("permuted_columns"):
            why += ", right but for the order of the columns"
        if status == "match" and judged.get("gold_empty"):
            why += ", which is empty: many wrong answers match that"
        message = judged.get("message")
        return f"{why}: {cut(message, 200)}" if message and status != "match" else why
    if judged.get("rouge_l") is not None:
        return f"ROUGE-L {judged['rouge_l']:.2f}"
    return ""


def cut(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
