"""Intervals against published values and their defining properties."""

import math

import numpy as np
import pytest

from kerasft.tasks.intervals import bootstrap, mean, perplexity, proportion


@pytest.mark.parametrize(
    # Values of Newcombe (1998, Statistics in Medicine 17), table I, method 3
    ("count", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    found = proportion(count, of)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=5e-5)
    assert found["rate"] == count / of


def test_no_rows_have_no_rate() -> None:
    assert proportion(0, 0) == {"count": 0, "of": 0, "rate": None, "low": None, "high": None}
    assert mean([]) == {"mean": None, "low": None, "high": None, "of": 0}


def test_bootstrap_is_seeded_and_about_two_standard_errors_wide() -> None:
    values = [float(i % 10) for i in range(1000)]
    found = mean(values)
    assert found == mean(values) != mean(values, seed=1)
    error = (8.25 / 1000) ** 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found["low"] < found["mean"] < found["high"]


def test_perplexity_is_the_exponential_of_the_token_mean() -> None:
    found = perplexity([math.log(2) * 10, math.log(8) * 30], [10, 30])
    assert found["perplexity"] == pytest.approx(2**0.25 * 8**0.75)
    assert (found["tokens"], found["of"]) == (40, 2)
    # Resamples of two rows have one of them alone at times.
    assert (found["low"], found["high"]) == pytest.approx((2.0, 8.0))
    assert perplexity([], []) == {
        "perplexity": None,
        "low": None,
        "high": None,
        "nats_per_token": None,
        "tokens": 0,
        "of": 0,
    }


def test_the_interval_of_a_statistic_covers_its_true_value_as_often_as_it_says() -> None:
    """Of 200 samples of a known mean about 190 intervals hold it."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        sample = random.exponential(1.0, 80)
        low, high = bootstrap(80, lambda rows, sample=sample: sample[rows].mean())
        held += low <= 1.0 <= high
    assert 178 <= held <= 199
