"""Paired comparisons against a published table, hand counts and their defining properties."""

import math

import numpy as np
import pytest

from kerasft.evaluating.paired import compare_flags, compare_losses, compare_means


def flags(both: int, broken: int, fixed: int, neither: int) -> tuple[list[bool], list[bool]]:
    base = [True] * (both + broken) + [False] * (fixed + neither)
    tuned = [True] * both + [False] * broken + [True] * fixed + [False] * neither
    return base, tuned


def exact(broken: int, fixed: int) -> float:
    """Twice the binomial tail of the smaller count, at most 1."""
    n, k = broken + fixed, min(broken, fixed)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


@pytest.mark.parametrize(("broken", "fixed"), [(1, 9), (9, 1), (0, 6), (5, 5), (3, 4), (121, 59)])
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_rows(broken, fixed):
    found = compare_flags(*flags(20, broken, fixed, 30))
    assert found["p_value"] == pytest.approx(exact(broken, fixed), rel=1e-9)
    assert (found["both"], found["neither"]) == (20, 30)
    assert (found["broken"], found["fixed"]) == (broken, fixed)


def test_the_difference_is_that_of_the_rates_with_an_interval_of_pairs():
    base, tuned = flags(40, 5, 25, 30)
    found = compare_flags(base, tuned)
    difference = found["difference"]
    assert difference["mean"] == pytest.approx(sum(tuned) / 100 - sum(base) / 100)
    # The variance of a difference of paired rates is (b + c - (c - b)² / n) / n².
    error = math.sqrt(30 - 20**2 / 100) / 100
    assert difference["high"] - difference["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    # Without pairs it would be wider: the rates go up and down together.
    unpaired = math.sqrt((0.45 * 0.55 + 0.65 * 0.35) / 100)
    assert difference["high"] - difference["low"] < 0.9 * 2 * 1.96 * unpaired


def test_rows_that_cannot_be_judged_on_either_side_are_left_out():
    found = compare_flags([True, None, False, None, False], [False, True, None, None, True])
    assert (found["of"], found["left_out"]) == (2, 3)
    assert (found["broken"], found["fixed"], found["p_value"]) == (1, 1, 1.0)


def test_nothing_to_compare_and_nothing_that_changed():
    nothing = compare_flags([None], [True])
    assert nothing["of"] == 0 and nothing["p_value"] is None
    assert nothing["difference"]["mean"] is None
    same = compare_flags([True, False], [True, False])
    assert same["p_value"] == 1.0 and same["difference"]["high"] == 0.0
    with pytest.raises(ValueError, match="zip"):
        compare_flags([True], [True, False])


def test_means_are_compared_row_by_row():
    found = compare_means([0.1, 0.5, 0.9], [0.2, 0.6, 1.0])
    assert found["difference"]["mean"] == pytest.approx(0.1)
    assert found["difference"]["low"] == pytest.approx(found["difference"]["high"])


def test_losses_are_weighted_by_their_tokens():
    base, tuned, tokens = [10.0, 300.0], [20.0, 200.0], [10, 100]
    found = compare_losses(base, tuned, tokens)
    assert found["difference"]["mean"] == pytest.approx((220 - 310) / 110)
    ratio = found["perplexity_ratio"]["ratio"]
    assert ratio == pytest.approx(math.exp(220 / 110) / math.exp(310 / 110))
    # A resample holds one row alone at times, so the ends are those of the two rows.
    assert found["difference"]["low"] == pytest.approx(-1.0)
    assert found["difference"]["high"] == pytest.approx(1.0)
    assert compare_losses([], [], [])["perplexity_ratio"]["ratio"] is None


def test_a_change_of_every_row_alike_has_a_narrow_interval():
    random = np.random.default_rng(0)
    tokens = random.integers(5, 50, 200)
    base = tokens * random.uniform(0.5, 3.0, 200)
    found = compare_losses(list(base), list(base - 0.1 * tokens), list(tokens))
    assert found["difference"]["low"] == pytest.approx(found["difference"]["high"])
    assert found["difference"]["mean"] == pytest.approx(-0.1)
