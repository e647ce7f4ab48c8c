"""Rows are full, hold each example once, and say nothing of its length."""

import numpy as np
import pytest

from kerasft.data.packing import pack


def lengths_like_dolly(count: int, seed: int = 0) -> list[int]:
    """Log-normal lengths, most of them short, as answers of people are."""
    drawn = np.random.default_rng(seed).lognormal(4.8, 0.8, count)
    return np.clip(drawn, 10, 1024).astype(int).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_each_example_is_in_one_row_that_holds_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    capacity = int(random.integers(1, 300))
    lengths = random.integers(1, capacity + 1, int(random.integers(0, 200))).tolist()
    rows = pack(lengths, capacity, seed)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in row) <= capacity for row in rows)


def test_best_fit_by_hand() -> None:
    # 6 goes alone; 5 opens a row; 4 fits only beside 6 as well as beside 5: the fuller.
    rows = pack([5, 4, 6, 3, 2], 10, seed=0)
    assert sorted(map(sorted, rows)) == [[0, 3, 4], [1, 2]]


def test_no_two_rows_could_be_one() -> None:
    lengths = lengths_like_dolly(500)
    sums = sorted(sum(lengths[index] for index in row) for row in pack(lengths, 1024, 0))
    assert sums[0] + sums[1] > 1024


def test_many_rows_are_nearly_full() -> None:
    lengths = lengths_like_dolly(15_000)
    rows = pack(lengths, 1024, seed=0)
    assert sum(lengths) > 0.99 * 1024 * len(rows)


def test_the_order_is_the_seeds() -> None:
    lengths = lengths_like_dolly(400)
    assert pack(lengths, 512 * 2, 3) == pack(lengths, 512 * 2, 3)
    assert pack(lengths, 512 * 2, 3) != pack(lengths, 512 * 2, 4)
    assert pack(lengths, 512 * 2, -1) == pack(lengths, 512 * 2, -1)


def test_neither_rows_nor_places_in_them_follow_length() -> None:
    """Best fit starts with the longest examples: left so, a run would begin with them."""
    lengths = lengths_like_dolly(4000)
    rows = pack(lengths, 1024, seed=0)
    longest = [max(lengths[index] for index in row) for row in rows]
    assert abs(np.corrcoef(np.arange(len(rows)), longest)[0, 1]) < 0.15
    first = np.mean([lengths[row[0]] for row in rows if len(row) > 2])
    last = np.mean([lengths[row[-1]] for row in rows if len(row) > 2])
    assert 0.8 < first / last < 1.25


def test_an_example_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="1025 tokens does not fit a row of 1024"):
        pack([3, 1025], 1024, 0)
