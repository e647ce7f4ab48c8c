"""Means and spreads over the seeds of a contender, and what its hours cost."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from kerasft.compare.result import Contender


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Attributes:
        mean: of those that are there.
        deviation: sample standard deviation (of n − 1); None for fewer than two values.
        n: how many values there are.
    """

    mean: float
    deviation: float | None
    n: int


def spread(values: Iterable[float | int | None]) -> Spread | None:
    """Mean and sample standard deviation, values that are None left out; None without any."""
    found = [float(value) for value in values if value is not None]
    if not found:
        return None
    deviation = statistics.stdev(found) if len(found) > 1 else None
    return Spread(statistics.fmean(found), deviation, len(found))


def facts_spread(contender: Contender, name: str) -> Spread | None:
    """A number of `RunFacts` over the seeds of a contender, by its name."""
    return spread(getattr(run, name) for run in contender.runs)


def score_spread(contender: Contender, evaluation: str, metric: str) -> Spread | None:
    """A score over the seeds of a contender."""
    return spread(
        score.value
        for run in contender.runs
        for score in run.scores
        if (score.evaluation, score.metric) == (evaluation, metric)
    )


def cost(seconds: float | None, price_per_hour: float | None) -> float | None:
    """What a device costs for so long; None where either is not known."""
    if seconds is None or price_per_hour is None:
        return None
    return seconds / 3600 * price_per_hour
