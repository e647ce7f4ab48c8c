"""95 % intervals for what the tasks measure."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution
RESAMPLES = 2000


def proportion(count: int, of: int) -> dict[str, int | float | None]:
    """A rate with its Wilson score interval (E. B. Wilson, 1927, J. Am. Stat. Assoc. 22).

    Returns:
        `count`, `of`, `rate`, `low`, `high`; the last three are None when `of` is 0.
    """
    if of == 0:
        return {"count": 0, "of": 0, "rate": None, "low": None, "high": None}
    rate = count / of
    scale = 1 + Z_95**2 / of
    centre = (rate + Z_95**2 / (2 * of)) / scale
    half = Z_95 * math.sqrt(rate * (1 - rate) / of + Z_95**2 / (4 * of**2)) / scale
    # At 0 and at `of` an end is exactly 0 or 1, which rounding misses.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == of else centre + half
    return {"count": count, "of": of, "rate": rate, "low": low, "high": high}


def mean(values: Sequence[float], seed: int = 0) -> dict[str, int | float | None]:
    """A mean with its percentile bootstrap interval over `RESAMPLES` seeded resamples.

    Returns:
        `mean`, `low`, `high` (None without values) and `of`, the number of values.
    """
    if not values:
        return {"mean": None, "low": None, "high": None, "of": 0}
    data = np.asarray(values, dtype=np.float64)  # (of,)
    generator = np.random.default_rng(seed)
    # One resample at a time: all together would be RESAMPLES * of numbers.
    means = [data[generator.integers(0, len(data), len(data))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(data.mean()), "low": float(low), "high": float(high), "of": len(data)}
