"""Scores of the groups that rows fall into, beside the scores of them all."""

from collections.abc import Callable, Sequence
from typing import Any


def by_group(
    judgements: Sequence[Any],
    fields: Sequence[str],
    rates: Callable[[Sequence[Any]], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """`by_FIELD` for each field of the judgements that tells groups apart.

    Rows without a value belong to no group, and a field with one value splits nothing.
    """
    split: dict[str, dict[str, Any]] = {}
    for field in fields:
        groups: dict[str, list[Any]] = {}
        for judgement in judgements:
            if (name := getattr(judgement, field)) is not None:
                groups.setdefault(name, []).append(judgement)
        if len(groups) > 1:
            split[f"by_{field}"] = {name: rates(own) for name, own in sorted(groups.items())}
    return split
