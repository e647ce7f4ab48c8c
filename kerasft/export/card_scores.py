"""The scores of a run's evaluations, as a card and the Hub's model index show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """A rate or a mean with its 95 % interval.

    Attributes:
        name: with the groups that it lies in.
        value, low, high: of the measure; rates between 0 and 1.
        of: how many rows it is over.
        rate: whether it is a share of rows.
    """

    name: str
    value: float
    low: float
    high: float
    of: int | None
    rate: bool

    def shown(self) -> tuple[str, str, str, str]:
        """Name, value, interval and number of rows as text."""
        middle, low, high = (
            f"{number:.1%}" if self.rate else f"{number:.3f}"
            for number in (self.value, self.low, self.high)
        )
        return self.name, middle, f"{low} to {high}", "" if self.of is None else str(self.of)


def scores(result: Mapping[str, Any], path: str = "") -> Iterator[Score]:
    """Every rate or mean that has an interval, those of parts of the rows left out.

    Args:
        result: a summary as `kerasft.evaluation` writes it.
        path: of the groups above it.
    """
    for key, value in result.items():
        if not isinstance(value, Mapping) or key.startswith("by_"):
            continue
        name = f"{path}{key}"
        centre = next((value[each] for each in _CENTRES if value.get(each) is not None), None)
        if centre is not None and value.get("low") is not None:
            yield Score(
                name, centre, value["low"], value["high"], value.get("of"), rate="rate" in value
            )
        else:
            yield from scores(value, f"{name} / ")


def sides(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tuned model's summary and, where it was scored, the base's."""
    return {side: result[side] for side in ("tuned", "base") if side in result}


def compared(comparison: Mapping[str, Any]) -> str:
    """A sentence on the first measure that tuned and base are compared by; "" for none."""
    for name, found in comparison.items():
        difference = found["difference"]
        if difference["mean"] is None:
            continue
        low, high, middle = (f"{difference[each]:+.3f}" for each in ("low", "high", "mean"))
        text = f"Tuned less base, {name} of {found['of']} rows: {middle} ({low} to {high})"
        if "p_value" in found:
            text += (
                f"; {found['fixed']} rows fixed, {found['broken']} broken, McNemar's exact test "
                f"p = {found['p_value']:.2g}"
            )
        return f"{text}."
    return ""


def model_index(
    title: str, task: str, results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The Hub's `model-index`: the tuned model's scores on each data set; empty without any.

    The format has no place for an interval, so it stands in a metric's name and `args`.
    """
    found = []
    for name, result in results.items():
        described = result.get("data") or {}
        source = described.get("source") or name
        metrics = [
            {
                "type": score.name.rsplit(" / ", 1)[-1],
                "name": f"{score.name} (95 % interval {score.shown()[2]})",
                "value": round(score.value, 4),
                "args": {"low": round(score.low, 4), "high": round(score.high, 4), "of": score.of},
            }
            for score in scores(result.get("tuned", {}))
        ]
        if metrics:
            found.append(
                {
                    "task": {"type": "text-generation", "name": task.replace("_", "-")},
                    "dataset": {"type": source, "name": described.get("which") or source},
                    "metrics": metrics,
                }
            )
    return [{"name": title, "results": found}] if found else []


_CENTRES = ("rate", "mean", "perplexity")
