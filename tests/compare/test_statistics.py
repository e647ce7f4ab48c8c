"""Means and spreads over seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasft.compare.facts import facts_of
from kerasft.compare.result import Contender
from kerasft.compare.statistics import cost, facts_spread, spread
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
