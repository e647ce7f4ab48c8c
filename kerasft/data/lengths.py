"""How long rows are, in tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BARS = 16
"""Bars of a histogram."""


def described(lengths: Sequence[int]) -> dict[str, Any]:
    """Quantiles and histogram of lengths, one at least, as JSON values.

    Returns:
        `median`, `p95`, `p99` and `longest`, in tokens; `counts` (rows) and `edges` (tokens, one
        more than counts).
    """
    counts, edges = histogram(lengths)
    return {**quantiles(lengths), "counts": counts, "edges": edges}


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Lengths at the median, 95 %, 99 % and the longest."""
    found = np.percentile(lengths, [50, 95, 99, 100], method="higher")
    return dict(zip(("median", "p95", "p99", "longest"), map(int, found), strict=True))


def histogram(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows by length: counts, and the edges between them, one more than counts."""
    step = max(1, -(-max(lengths) // BARS))
    edges = list(range(0, max(lengths) + step + 1, step))
    counts, _ = np.histogram(lengths, edges)
    return counts.tolist(), edges
