"""An evaluation's scores in the words of a report."""

from collections.abc import Mapping
from typing import Any

from kerasft.export.card_scores import scores, sides

_WORDS = {
    "execution_accuracy": "execution accuracy",
    "execution_accuracy_spider": "execution accuracy, Spider's rules",
    "execution_accuracy_bird": "execution accuracy, BIRD's rules",
    "execution_accuracy_non_empty": "execution accuracy, gold not empty",
    "execution_match": "execution accuracy",
    "execution_match_spider": "execution accuracy, Spider's rules",
    "execution_match_bird": "execution accuracy, BIRD's rules",
    "exact_match": "exact match, normalised",
    "raw_exact_match": "exact match of the text",
    "valid_sql": "valid SQL",
    "rouge_l": "ROUGE-L",
}

LIKE_ANOTHER = ("execution_accuracy_spider", "execution_accuracy_bird", "raw_exact_match")
"""Measures that say nearly the same as another one: tables have them, and plots do without."""


def readable(metric: str) -> str:
    """A measure's name for people."""
    return _WORDS.get(metric, metric.replace("_", " "))


def shares(result: Mapping[str, Any]) -> list[str]:
    """The measures of an evaluation that are shares of its rows, in its order."""
    side = next(iter(sides(result).values()), {})
    return [score.name for score in scores(side) if score.rate and " / " not in score.name]


def interval(value: Any) -> tuple[float, float, float] | None:
    """Value, low and high of a rate; None where nothing could be judged."""
    if not isinstance(value, Mapping) or value.get("rate") is None:
        return None
    return value["rate"], value["low"], value["high"]


def headline(result: Mapping[str, Any]) -> str:
    """The first measure of tuned and base, in a clause; "" where nothing was judged."""
    found = []
    for side, summary in sides(result).items():
        first = next(scores(summary), None)
        if first is not None:
            _, value, low_high, _ = first.shown()
            found.append((side, readable(first.name), value, low_high))
    if not found:
        return ""
    side, name, value, low_high = found[0]
    clause = f"{name} is {value} ({low_high})"
    if side == "base":
        return f"{clause} for the untouched base"
    if len(found) > 1:
        return f"{clause}, the untouched base's {found[1][2]} ({found[1][3]})"
    return clause


def difference(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of a comparison of tuned and base: difference with its interval, fixed/broken, p."""
    change = found["difference"]
    if change["mean"] is None:
        return "–", "", ""
    if "p_value" not in found:
        middle, low, high = (f"{change[each]:+.3f}" for each in ("mean", "low", "high"))
        return f"{middle} ({low} to {high})", "", ""
    middle, low, high = (f"{100 * change[each]:+.1f}" for each in ("mean", "low", "high"))
    counts = f"{found['fixed']:,} fixed, {found['broken']:,} broken"
    return f"{middle} points ({low} to {high})", counts, p_value(found["p_value"])


def p_value(value: float | None) -> str:
    """A probability for a table."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
