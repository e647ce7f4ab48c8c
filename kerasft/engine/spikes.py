"""Losses that stand out from those before them."""

import statistics
from collections import deque
from collections.abc import Iterable

WINDOW = 50
"""Losses that the next one is compared with."""

LEAST = 20
"""Of them, before anything is called a spike."""

DEVIATIONS = 6.0
"""How many standard deviations above the median a spike is."""

RISE = 0.1
"""And by what share of the median at least: a flat loss has hardly any deviation."""

_NORMAL = 1.4826
"""Standard deviation of normal values whose median absolute deviation is 1."""


class SpikeWatch:
    """Compares each loss with the `WINDOW` before it.

    A spike is a loss above m + max(`DEVIATIONS` · 1.4826 · MAD, `RISE` · m), for the median
    m of those losses and the median MAD of their distances from m: neither is moved by a
    spike or two among them.

    Args:
        earlier: losses of the steps before, where a run is gone on with.
    """

    def __init__(self, earlier: Iterable[float] = ()) -> None:
        self._losses: deque[float] = deque(earlier, maxlen=WINDOW)

    def is_spike(self, loss: float) -> float | None:
        """The median that a loss stands out from, or None; the loss is then one of those seen."""
        found = None
        if len(self._losses) >= LEAST:
            median = statistics.median(self._losses)
            spread = _NORMAL * statistics.median(abs(each - median) for each in self._losses)
            if loss > median + max(DEVIATIONS * spread, RISE * median):
                found = median
        self._losses.append(loss)
        return found
