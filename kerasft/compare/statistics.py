"""Means and spreads over the seeds of a contender, who is ahead when, and what hours cost."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


def compiled_apart(contenders: Sequence[Contender]) -> list[tuple[str, list[Contender]]]:
    """Contenders for the numbers that compiling is in, and which seeds theirs are.

    With several seeds those of the first, whose run may have had all to compile, and those of
    the others: a mean of the two is the time of no run. "" where there is one seed.
    """
    if not any(len(each.runs) > 1 for each in contenders):
        return [("", list(contenders))]
    return [
        ("the first seed", [replace(each, runs=each.runs[:1]) for each in contenders]),
        ("later seeds", [replace(each, runs=each.runs[1:]) for each in contenders]),
    ]


def score_spread(contender: Contender, evaluation: str, metric: str) -> Spread | None:
    """A score over the seeds of a contender."""
    return spread(
        score.value
        for run in contender.runs
        for score in run.scores
        if (score.evaluation, score.metric) == (evaluation, metric)
    )


@dataclass(frozen=True)
class Pace:
    """Training time by optimizer steps, fixed + n · step, through what was measured.

    Attributes:
        fixed: seconds that are not explained by the steps' median: compiling, above all.
        step: seconds of a step.
    """

    fixed: float
    step: float


def pace(contender: Contender) -> Pace | None:
    """From the training time, steps and median step of each run, means over the seeds."""
    found = [
        (run.training_seconds - run.steps * run.step_seconds, run.step_seconds)
        for run in contender.runs
        if run.training_seconds is not None and run.step_seconds is not None and run.steps
    ]
    if not found:
        return None
    fixed, step = (statistics.fmean(values) for values in zip(*found, strict=True))
    return Pace(fixed, step)


def ahead_from(own: Pace, other: Pace) -> int | None:
    """The first step from which on `own` has taken less time in all, for good.

    1 where that is so from the start; None where it never is.
    """
    if own.step == other.step:
        return 1 if own.fixed < other.fixed else None
    if own.step > other.step:
        return None
    return max(1, math.floor((own.fixed - other.fixed) / (other.step - own.step)) + 1)


def cost(seconds: float | None, price_per_hour: float | None) -> float | None:
    """What a device costs for so long; None where either is not known."""
    if seconds is None or price_per_hour is None:
        return None
    return seconds / 3600 * price_per_hour
