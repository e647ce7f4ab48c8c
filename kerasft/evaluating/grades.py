"""The judge's grades, kept slice by slice: each of them costs a request."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kerasft.evaluating.journal import Journal
from kerasft.judging import Grade, Judge

AT_ONCE = 32
"""Rows that are graded before their grades are kept."""


def grade(
    judge: Judge,
    task: str,
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    journal: Journal,
    what: str,
    on_rows: Callable[[int], None] = lambda done: None,
) -> list[Grade]:
    """One grade a row, those of the journal taken as they are.

    A row about which the judge gave no reply is asked about again by the next evaluation that
    goes on.

    Args:
        what: the name of these grades in the journal, with the judge's own in it.
    """
    known = journal.known(what)
    found = {row: Grade(**value) for row, value in known.items()}
    waiting = [index for index in range(len(rows)) if index not in found]
    on_rows(len(found))
    for start in range(0, len(waiting), AT_ONCE):
        chosen = waiting[start : start + AT_ONCE]
        began = time.monotonic()
        grades = judge.grade(task, [rows[i] for i in chosen], [answers[i] for i in chosen])
        found |= dict(zip(chosen, grades, strict=True))
        kept = {i: asdict(found[i]) for i in chosen if found[i].verdict != "failed"}
        if kept:
            journal.add(what, kept, time.monotonic() - began)
        on_rows(len(found))
    return [found[index] for index in range(len(rows))]


def flag(grade: Grade) -> bool | None:
    """Whether the judge found an answer right; None where it did not say."""
    return {"right": True, "wrong": False}.get(grade.verdict)
