"""95 % intervals for what the tasks measure."""

import math
from collections.abc import Callable, Sequence

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
    if not len(values):
        return {"mean": None, "low": None, "high": None, "of": 0}
    data = np.asarray(values, dtype=np.float64)  # (of,)
    low, high = bootstrap(len(data), lambda rows: data[rows].mean(), seed)
    return {"mean": float(data.mean()), "low": low, "high": high, "of": len(data)}


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> dict[str, int | float | None]:
    """The exponential of the token-weighted mean loss, exp(Σ nats / Σ tokens).

    Args:
        nats: summed negative log-likelihood of each row.
        tokens: tokens that each sum is over; one at least.

    Returns:
        `perplexity` with `low` and `high` (a bootstrap interval over rows), `nats_per_token`,
        `tokens` and `of`, the rows; None but for the counts without rows.
    """
    if not len(tokens):
        none = dict.fromkeys(("perplexity", "low", "high", "nats_per_token"))
        return {**none, "tokens": 0, "of": 0}
    sums, weights = np.asarray(nats, np.float64), np.asarray(tokens, np.float64)
    found = float(sums.sum() / weights.sum())
    low, high = bootstrap(len(weights), lambda rows: sums[rows].sum() / weights[rows].sum())
    return {
        "perplexity": float(np.exp(found)),
        "low": float(np.exp(low)),
        "high": float(np.exp(high)),
        "nats_per_token": found,
        "tokens": int(weights.sum()),
        "of": len(weights),
    }


def bootstrap(
    of: int, statistic: Callable[[np.ndarray], float], seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval (B. Efron, 1979, Ann. Statist. 7) of a statistic of rows.

    Args:
        of: number of rows, at least 1.
        statistic: from the indices of a resample's rows, (of,) int64, to its value.
        seed: of the resamples, which are the same for every statistic of as many rows.

    Returns:
        The 2.5 % and the 97.5 % point over `RESAMPLES` resamples.
    """
    generator = np.random.default_rng(seed)
    # One resample at a time: all together would be RESAMPLES * of numbers.
    found = [statistic(generator.integers(0, of, of)) for _ in range(RESAMPLES)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
