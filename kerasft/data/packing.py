"""Packing: which examples share a row, so that little of it is padding."""

from collections.abc import Sequence

import numpy as np


def pack(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """Rows of at most `capacity` tokens, by best fit with the longest examples first.

    An example goes into the fullest row that it still fits (best-fit decreasing: Johnson
    1974, "Fast algorithms for bin packing"). That row is found in a bit set of the numbers
    of tokens that rows have free, so 15,000 examples take some hundredths of a second.

    Args:
        lengths: of the examples, in tokens.
        capacity: tokens of a row, no less than the longest example.
        seed: of the order among examples of one length, of those within a row, and of
            the rows.

    Returns:
        Indices of the examples of each row, each example in one row.

    Raises:
        ValueError: an example is longer than a row.
    """
    sizes = np.asarray(lengths)
    if len(sizes) and sizes.max() > capacity:
        raise ValueError(f"an example of {sizes.max()} tokens does not fit a row of {capacity}")
    generator = np.random.default_rng(seed & 0xFFFFFFFF)
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    rows: list[list[int]] = []
    with_free: list[list[int]] = [[] for _ in range(capacity + 1)]
    frees = 0  # bit f is set where a row has f tokens free
    for index, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        fitting = frees >> size
        if fitting:
            free = size + (fitting & -fitting).bit_length() - 1
            row = with_free[free].pop()
            if not with_free[free]:
                frees ^= 1 << free
            rows[row].append(index)
        else:
            free, row = capacity, len(rows)
            rows.append([index])
        with_free[free - size].append(row)
        frees |= 1 << (free - size)
    # Best fit leaves long examples at the start of a row and short ones at its end.
    for row in rows:
        generator.shuffle(row)
    return [rows[row] for row in generator.permutation(len(rows))]
