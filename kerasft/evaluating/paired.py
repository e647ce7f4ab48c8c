"""Two models on the same rows: what changed, and whether chance would explain it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasft.tasks.intervals import bootstrap, mean

Flag = bool | None
"""Whether an answer is right; None where that cannot be judged."""


def compare_flags(base: Sequence[Flag], tuned: Sequence[Flag]) -> dict[str, Any]:
    """Rates of two models on the same rows.

    McNemar's test asks of the rows that one model alone has right, b of the base and c of
    the tuned one, whether they fall to either side like a fair coin; exactly, by the
    two-sided binomial test of min(b, c) in b + c (Q. McNemar, 1947, Psychometrika 12).

    Args:
        base, tuned: one flag a row; a row with None on either side is left out.

    Returns:
        `of` (rows compared), `left_out`, `both` and `neither` right, `broken` (b: right by the
        base alone), `fixed` (c: right by the tuned one alone), `difference` of the rates, tuned
        less base, as `mean` with its paired bootstrap interval, and `p_value` (None without
        rows).

    Raises:
        ValueError: not one flag a row.
    """
    from scipy.stats import binomtest

    kept = [pair for pair in zip(base, tuned, strict=True) if None not in pair]
    broken, fixed = kept.count((True, False)), kept.count((False, True))
    p_value: float | None = None
    if kept:
        discordant = broken + fixed
        p_value = float(binomtest(broken, discordant, 0.5).pvalue) if discordant else 1.0
    return {
        "of": len(kept),
        "left_out": len(base) - len(kept),
        "both": kept.count((True, True)),
        "neither": kept.count((False, False)),
        "broken": broken,
        "fixed": fixed,
        "difference": mean([after - before for before, after in kept]),
        "p_value": p_value,
    }


def compare_means(base: Sequence[float], tuned: Sequence[float]) -> dict[str, Any]:
    """A measurement of two models on the same rows.

    Returns:
        `of`, and the `difference`, tuned less base, as `mean` with its paired bootstrap interval.

    Raises:
        ValueError: not one value a row.
    """
    differences = [after - before for before, after in zip(base, tuned, strict=True)]
    return {"of": len(differences), "difference": mean(differences)}


def compare_losses(
    base: Sequence[float], tuned: Sequence[float], tokens: Sequence[int]
) -> dict[str, Any]:
    """Losses of two models on the tokens of the same rows.

    Args:
        base, tuned: summed negative log-likelihood of each row, in nats.
        tokens: tokens that each sum is over; one at least.

    Returns:
        `of` (rows), `difference`: nats a token, tuned less base, as `mean` with its paired
        bootstrap interval over rows, and `perplexity_ratio`: its exponential, tuned over base,
        with that of the interval's ends. All None without rows.
    """
    if not len(tokens):
        nothing = {"mean": None, "low": None, "high": None, "of": 0}
        ratio = {"ratio": None, "low": None, "high": None}
        return {"of": 0, "difference": nothing, "perplexity_ratio": ratio}
    change = np.asarray(tuned, np.float64) - np.asarray(base, np.float64)  # (rows,)
    weights = np.asarray(tokens, np.float64)
    found = float(change.sum() / weights.sum())
    low, high = bootstrap(len(weights), lambda rows: change[rows].sum() / weights[rows].sum())
    return {
        "of": len(weights),
        "difference": {"mean": found, "low": low, "high": high, "of": len(weights)},
        "perplexity_ratio": {
            "ratio": float(np.exp(found)),
            "low": float(np.exp(low)),
            "high": float(np.exp(high)),
        },
    }
