"""Every row once an epoch, in an order that is random and costs little padding."""

import numpy as np
import pytest

from kerasft.data.order import balanced, of_like_length


def orders(seed: int, epoch: int) -> list[list[list[int]]]:
    counts = [10] * 64
    return [of_like_length(counts, 4, seed, epoch), balanced(counts, 2, 2, seed, epoch)]


@pytest.mark.parametrize("kind", [0, 1], ids=["of_like_length", "balanced"])
def test_epochs_and_seeds_order_the_rows_otherwise(kind: int) -> None:
    plans = [orders(seed, epoch)[kind] for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for a in plans for b in plans if a is not b)
    assert orders(0, 1)[kind] == plans[1]
    assert orders(-1, 0)[kind] != plans[0]


def test_grouping_by_length_saves_padding_and_keeps_the_order_random() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(8, 512, 4000).tolist()
    plan = of_like_length(lengths, 8, 0, 0)
    longest = [max(lengths[row] for row in window) for window in plan]
    padded = sum(8 * each for each in longest)
    shuffled = generator.permutation(4000).reshape(-1, 8)
    at_random = sum(8 * max(lengths[row] for row in window) for window in shuffled)
    assert padded < 0.62 * at_random
    # A run must not go from short to long: neighbours in time are unlike.
    order = np.corrcoef(np.arange(len(longest)), longest)[0, 1]
    assert abs(order) < 0.15


@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (4, 2), (2, 1), (1, 8)])
def test_dealing_leaves_no_micro_batch_far_above_the_mean(
    batch_size: int, accumulation: int
) -> None:
    generator = np.random.default_rng(0)
    supervised = generator.integers(20, 1000, 2000)
    plan = balanced(supervised.tolist(), batch_size, accumulation, 0, 0)
    micros = np.concatenate([supervised[window].reshape(-1, batch_size) for window in plan])
    mean, most = micros.sum(1).mean(), micros.sum(1).max()
    assert most < {8: 1.05, 4: 1.1, 2: 1.35, 1: 2.0}[batch_size] * mean
    shuffled = generator.permutation(supervised).reshape(-1, batch_size).sum(1).max()
    assert most < (0.8 if batch_size > 1 else 1.01) * shuffled
    windows = np.array([supervised[window].sum() for window in plan])
    order = np.corrcoef(np.arange(len(windows)), windows)[0, 1]
    assert abs(order) < 0.15


def test_rows_meet_others_in_the_next_epoch() -> None:
    supervised = np.random.default_rng(0).integers(20, 1000, 2000).tolist()
    pairs = [
        {frozenset(window) for window in balanced(supervised, 2, 1, 0, epoch)} for epoch in (0, 1)
    ]
    assert len(pairs[0] & pairs[1]) < 30


@pytest.mark.parametrize("count", [1, 3, 21, 24])
def test_only_the_last_window_is_not_full(count: int) -> None:
    counts = list(range(count))
    for plan in (of_like_length(counts, 4, 0, 0), balanced(counts, 2, 2, 0, 0)):
        assert [len(window) for window in plan[:-1]] == [4] * (len(plan) - 1)
        assert sorted(row for window in plan for row in window) == counts
