"""Lengths of rows: quantiles and histogram."""

import pytest

from kerasft.data.lengths import BARS, described, histogram


@pytest.mark.parametrize("lengths", [[5], [3, 3, 3], list(range(1, 1000)), [1, 5000]])
def test_the_histogram_has_every_row(lengths: list[int]) -> None:
    counts, edges = histogram(lengths)
    assert sum(counts) == len(lengths)
    assert len(edges) == len(counts) + 1 <= BARS + 3
    assert edges[0] == 0 and edges[-1] > max(lengths)


def test_quantiles_are_lengths_that_occur() -> None:
    found = described(list(range(1, 101)))
    # Half of the rows are no longer than 51: of 50 and 51, the higher.
    assert (found["median"], found["p95"], found["p99"], found["longest"]) == (51, 96, 100, 100)
    assert sum(found["counts"]) == 100
