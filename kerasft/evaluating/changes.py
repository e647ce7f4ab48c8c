"""What tuning changed: each measure of base and tuned beside the other, and the rows it moved."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from kerasft.evaluating.paired import Flag, compare_flags, compare_means

Scored = Mapping[str, Any]
"""A line of the predictions: the row, and under `base` and `tuned` answer and judgement."""


def comparison(
    predictions: Sequence[Scored], paired: Sequence[str], measured: Sequence[str]
) -> dict[str, Any]:
    """Base and tuned on the same rows.

    Args:
        predictions: each with `base` and `tuned`.
        paired: fields that are true, false or None (`compare_flags`).
        measured: fields that are numbers (`compare_means`).
    """
    found = {}
    for name in paired:
        base, tuned = (flags(predictions, contender, name) for contender in ("base", "tuned"))
        found[name] = {**compare_flags(base, tuned), "rows": moved(base, tuned)}
    for name in measured:
        base, tuned = ([line[side][name] for line in predictions] for side in ("base", "tuned"))
        found[name] = compare_means(base, tuned)
    return found


def flags(predictions: Sequence[Scored], contender: str, name: str) -> list[Flag]:
    """One field of a contender's judgements."""
    return [line[contender][name] for line in predictions]


def moved(base: Sequence[Flag], tuned: Sequence[Flag]) -> dict[str, list[int]]:
    """Rows, from 0, that tuning `fixed` and those that it `broke`."""
    pairs = list(enumerate(zip(base, tuned, strict=True)))
    return {
        "fixed": [row for row, pair in pairs if pair == (False, True)],
        "broken": [row for row, pair in pairs if pair == (True, False)],
    }


def changed_examples(
    predictions: Sequence[Scored], name: str, asked: str, expected: str
) -> list[dict[str, Any]]:
    """The rows whose `name` changed, broken ones first.

    Args:
        predictions: each with `base` and `tuned`.
        name: a field that is true, false or None.
        asked, expected: columns of the question and of the known answer.

    Returns:
        `row` (from 0), `change` (`broken` or `fixed`), `asked`, `expected`, `base` and `tuned`.
    """
    rows = moved(flags(predictions, "base", name), flags(predictions, "tuned", name))
    return [
        {
            "row": row,
            "change": change,
            "asked": predictions[row][asked],
            "expected": predictions[row][expected],
            "base": predictions[row]["base"]["answer"],
            "tuned": predictions[row]["tuned"]["answer"],
        }
        for change in ("broken", "fixed")
        for row in rows[change]
    ]


def measured_fields(judgement: Any, summary: Mapping[str, Any]) -> list[str]:
    """Fields of a judgement that its summary gives means of."""
    return [
        field.name
        for field in fields(judgement)
        if isinstance(summary.get(field.name), Mapping) and "mean" in summary[field.name]
    ]
