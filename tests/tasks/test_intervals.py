"""Intervals against published values and their defining properties."""

import pytest

from kerasft.tasks.intervals import mean, proportion


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
