"""The order of an epoch: which rows make a window.

Pure functions of (seed, epoch). The rows of a window depend on how many there are, not on
how they are cut into micro-batches: 8 × 1 and 2 × 4 take the same steps.
"""

import heapq
from collections.abc import Sequence

import numpy as np

MEGABATCH = 50
"""Windows among which rows are sorted before they are dealt to windows.

A window is then drawn from a random part of the data, and still one of rows alike in
length, or of rows that together have about as many supervised tokens as any other.
"""


def of_like_length(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Windows whose rows are alike in length, so that little is padding.

    Rows are shuffled, sorted by length inside `MEGABATCH` windows, and the windows are
    shuffled. The rows that do not fill a window make the last one.

    Args:
        lengths: of the rows, in tokens.
        size: rows a window.
        seed, epoch: what the order depends on, apart from the lengths.

    Returns:
        Indices of the rows of every window, each row once.
    """
    generator = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
    order = generator.permutation(len(lengths))
    whole = len(order) - len(order) % size
    sizes = np.asarray(lengths)
    windows: list[list[int]] = []
    for start in range(0, whole, size * MEGABATCH):
        rows = order[start : min(start + size * MEGABATCH, whole)]
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        windows.extend(rows.reshape(-1, size).tolist())
    plan = [windows[index] for index in generator.permutation(len(windows))]
    if whole < len(order):
        rest = order[whole:]
        plan.append(rest[np.argsort(sizes[rest], kind="stable")].tolist())
    return plan


def balanced(
    supervised: Sequence[int], batch_size: int, accumulation: int, seed: int, epoch: int
) -> list[list[int]]:
    """Windows, and micro-batches in them, of about equally many supervised tokens.

    Logits are computed for as many positions as the fullest micro-batch of a run has.
    Rows are shuffled; inside `MEGABATCH` windows they are dealt to windows, then inside
    each window to its micro-batches; the windows are shuffled. The rows that do not fill a
    window make the last one.

    Args:
        supervised: supervised tokens of the rows.
        batch_size: rows a micro-batch.
        accumulation: micro-batches a window.
        seed, epoch: what the order depends on, apart from the counts.

    Returns:
        Indices of the rows of every window, micro-batch by micro-batch, each row once.
    """
    size = batch_size * accumulation
    generator = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
    order = generator.permutation(len(supervised)).tolist()
    whole = len(order) - len(order) % size
    windows: list[list[int]] = []
    for start in range(0, whole, size * MEGABATCH):
        windows.extend(
            _dealt(order[start : min(start + size * MEGABATCH, whole)], supervised, size)
        )
    plan = [windows[index] for index in generator.permutation(len(windows))]
    if whole < len(order):
        plan.append(order[whole:])
    return [
        [row for micro in _dealt(rows, supervised, batch_size) for row in micro] for rows in plan
    ]


def _dealt(rows: Sequence[int], supervised: Sequence[int], size: int) -> list[list[int]]:
    """Groups of `size` rows with sums as equal as can be had quickly; the last may be short.

    The heaviest row that is left goes to the lightest group that is not full (Graham 1969,
    "Bounds on multiprocessing timing anomalies").
    """
    groups: list[list[int]] = [[] for _ in range(-(-len(rows) // size))]
    sizes = [min(size, len(rows) - size * place) for place in range(len(groups))]
    loads = [(0, place) for place in range(len(groups))]
    for row in sorted(rows, key=lambda row: -supervised[row]):
        load, place = heapq.heappop(loads)
        groups[place].append(row)
        if len(groups[place]) < sizes[place]:
            heapq.heappush(loads, (load + supervised[row], place))
    return groups
