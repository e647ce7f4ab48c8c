"""Means and spreads over seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasft.compare.facts import facts_of
from kerasft.compare.result import Contender
from kerasft.compare.statistics import Pace, ahead_from, cost, facts_spread, pace, spread
from tests.compare.made import made_run


def test_spread_is_that_of_a_sample() -> None:
    found = spread([1, None, 2.0, 3.0])
    assert found is not None and (found.mean, found.deviation, found.n) == (2.0, 1.0, 3)
    alone = spread([4])
    assert alone is not None and alone.deviation is None
    assert spread([None]) is None
    assert cost(1800, 2.5) == 1.25 and cost(None, 2.5) is None and cost(1.0, None) is None


def test_spread_of_a_fact_is_over_the_seeds(tmp_path: Path) -> None:
    runs = [
        facts_of(made_run(tmp_path / str(seed), seed=seed, record={"seconds": 10.0 + seed}))
        for seed in (0, 2)
    ]
    contender = Contender("hf", "hf", "torch", "peft", "", "", {}, None, runs, True)
    found = facts_spread(contender, "training_seconds")
    assert found is not None and found.mean == 11.0 and found.deviation == pytest.approx(2**0.5)


def test_pace_goes_through_what_was_measured(tmp_path: Path) -> None:
    runs = [
        facts_of(made_run(tmp_path / str(seed), seed=seed, seconds=(10.0 + seed, 0.5, 0.5)))
        for seed in (0, 2)
    ]
    contender = Contender("hf", "hf", "torch", "peft", "", "", {}, None, runs, True)
    assert pace(contender) == Pace(fixed=10.5, step=0.5)
    nothing = facts_of(made_run(tmp_path / "none", losses=[], seconds=[]))
    assert pace(Contender("hf", "hf", "", "", "", "", {}, None, [nothing], True)) is None


@pytest.mark.parametrize(
    ("own", "other", "step"),
    [
        ((20, 1), (10, 2), 11),  # level at 10
        ((20, 1), (10.5, 2), 10),
        ((10, 1), (20, 2), 1),
        ((10, 2), (20, 2), 1),
        ((20, 2), (10, 2), None),
        ((10, 2), (10, 2), None),
        ((0, 2), (10, 1), None),
    ],
)
def test_ahead_for_good(own: tuple, other: tuple, step: int | None) -> None:
    own, other = Pace(*own), Pace(*other)
    assert ahead_from(own, other) == step
    if step is not None:

        def took(each: Pace, steps: int) -> float:
            return each.fixed + steps * each.step

        assert took(own, step) < took(other, step)
        assert step == 1 or took(own, step - 1) >= took(other, step - 1)
