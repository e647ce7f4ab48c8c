"""Whether an exported model is the one that was trained: the measures and their bounds.

Three sets of logits are compared at the same positions: those of the live model,
of the live model without its adapter, and of the folder loaded again. Pure NumPy.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kerasft.export.stored import coarsest


@dataclass(frozen=True)
class Bound:
    """How far two models may be apart and still be called the same one.

    Attributes:
        largest: of any logit difference, as a fraction of the logits' range.
        absolute: of any logit difference, in logits, where that is the tighter one.
        mean: of the mean logit difference, as a fraction of the logits' range.
        top1: least fraction of positions with the same most likely token.
        reason: where the numbers come from.
        effect: of the mean logit difference, as a fraction of what training changed in
            the mean; for exports that give up some of it on purpose. Where it is set,
            the part of the training that is in the export is not judged by `RECOVERED`.
    """

    largest: float
    absolute: float
    mean: float
    top1: float
    reason: str
    effect: float | None = None

    def largest_allowed(self, logit_range: float) -> float:
        """The largest difference allowed to any logit, in logits."""
        return min(self.absolute, self.largest * logit_range)


# What rounding the merged weights costs was measured with adapters of random numbers on all
# linear layers, as the largest and the mean difference over the range. bfloat16: tiny random
# models of the four families up to 4.8 % and 0.18 %, Gemma 3 270M 2.1 % and 0.15 %. float16:
# tiny models up to 0.40 % and 0.020 %. float32: 2.3e-4 logits on Gemma 3 270M, 2.5e-5 on tiny
# ones. q8_0: tiny models up to 18.7 % and 0.65 %, the same token at 90 % of the positions or
# more; Gemma 3 270M with a trained adapter 8.3 %, 0.62 % and 95 %. The bounds are two to four
# times that.
BOUNDS = {
    "float32": Bound(
        largest=1.0,
        absolute=1e-3,
        mean=1e-4,
        top1=0.99,
        reason="the same numbers added in another order",
    ),
    "bfloat16": Bound(
        largest=0.1,
        absolute=np.inf,
        mean=0.005,
        top1=0.9,
        reason="each weight is rounded to 8 significant bits",
    ),
    "float16": Bound(
        largest=0.01,
        absolute=np.inf,
        mean=0.0006,
        top1=0.97,
        reason="each weight is rounded to 11 significant bits",
    ),
    "q8_0": Bound(
        largest=0.4,
        absolute=np.inf,
        mean=0.02,
        top1=0.8,
        reason="each block of 32 weights is rounded to 255 steps",
    ),
}
"""By the coarser of the folder's dtype and the dtype in which both sides compute."""

RECOVERED = (0.9, 1.1)
"""What part of the training an export must hold: see `Comparison.recovered`."""


def bound_for(*dtypes: str) -> tuple[str, Bound]:
    """The dtype that sets the bound, and the bound."""
    dtype = coarsest(set(dtypes))
    return dtype, BOUNDS[dtype]


@dataclass(frozen=True)
class Comparison:
    """The exported model against the live one and against its base, over all probes.

    Attributes:
        positions: how many positions were compared.
        logit_range: largest minus smallest live logit of a position, the median position's.
        largest_difference: largest |exported − live|.
        mean_difference: mean |exported − live|.
        top1_agreement: fraction of positions with the same most likely token.
        largest_distance_from_base: largest |exported − base|.
        mean_distance_from_base: mean |exported − base|.
        mean_training_effect: mean |live − base|.
        recovered: the part of what training did that the export holds: the
            projection of (exported − base) on (live − base), 1 when they are equal,
            0 when the adapter was lost; None when training changed nothing.
        finite: whether every exported logit is a finite number.
    """

    positions: int
    logit_range: float
    largest_difference: float
    mean_difference: float
    top1_agreement: float
    largest_distance_from_base: float
    mean_distance_from_base: float
    mean_training_effect: float
    recovered: float | None
    finite: bool


@dataclass
class Tally:
    """Adds up a comparison row by row, so that no two rows need be in memory at once."""

    positions: int = 0
    values: int = 0
    ranges: list[float] = field(default_factory=list)
    largest: float = 0.0
    total: float = 0.0
    agreed: int = 0
    base_largest: float = 0.0
    base_total: float = 0.0
    effect_total: float = 0.0
    along: float = 0.0
    squared: float = 0.0
    finite: bool = True

    def add(self, live: np.ndarray, base: np.ndarray, exported: np.ndarray) -> None:
        """Counts one row: three float32 arrays of shape (positions, vocabulary)."""
        if not np.isfinite(exported).all():
            self.finite = False
            exported = np.nan_to_num(exported)
        difference = np.abs(exported - live)
        moved = exported - base
        effect = live - base
        self.positions += len(live)
        self.values += live.size
        self.ranges += np.ptp(live, axis=-1).tolist()
        self.largest = max(self.largest, float(difference.max()))
        self.total += float(difference.sum(dtype=np.float64))
        self.agreed += int((exported.argmax(-1) == live.argmax(-1)).sum())
        self.base_largest = max(self.base_largest, float(np.abs(moved).max()))
        self.base_total += float(np.abs(moved).sum(dtype=np.float64))
        self.effect_total += float(np.abs(effect).sum(dtype=np.float64))
        self.along += float((moved * effect).sum(dtype=np.float64))
        self.squared += float((effect * effect).sum(dtype=np.float64))

    def comparison(self) -> Comparison:
        """The sums as a comparison; at least one row must have been added."""
        return Comparison(
            positions=self.positions,
            logit_range=float(np.median(self.ranges)),
            largest_difference=self.largest,
            mean_difference=self.total / self.values,
            top1_agreement=self.agreed / self.positions,
            largest_distance_from_base=self.base_largest,
            mean_distance_from_base=self.base_total / self.values,
            mean_training_effect=self.effect_total / self.values,
            recovered=self.along / self.squared if self.squared else None,
            finite=self.finite,
        )


def judge(comparison: Comparison, bound: Bound, *, trained: bool) -> list[str]:
    """Every way in which the export is not the trained model; empty when it is.

    Args:
        comparison: what was measured.
        bound: for the dtypes at hand.
        trained: whether the adapter holds anything but zeros.
    """
    c = comparison
    faults = []
    if not c.finite:
        faults.append("the exported model gives logits that are not finite")
    largest = bound.largest_allowed(c.logit_range)
    if c.largest_difference > largest:
        faults.append(
            f"a logit differs by {c.largest_difference:.3g}; at most {largest:.3g} is expected"
        )
    mean = bound.mean * c.logit_range
    if c.mean_difference > mean:
        faults.append(
            f"logits differ by {c.mean_difference:.3g} in the mean; at most {mean:.3g} is expected"
        )
    if c.top1_agreement < bound.top1:
        faults.append(
            f"the most likely token agrees at {c.top1_agreement:.1%} of the positions; at least "
            f"{bound.top1:.0%} is expected"
        )
    if not trained:
        return faults
    if c.recovered is None:
        faults.append("the live model gives the base's logits although its adapter is not zero")
        return faults
    if bound.effect is not None:
        allowed = bound.effect * c.mean_training_effect + BOUNDS["float32"].mean * c.logit_range
        if c.mean_difference > allowed:
            faults.append(
                f"logits differ by {c.mean_difference:.3g} in the mean; at most {allowed:.3g} is "
                f"expected, {bound.effect:.1%} of what training changed"
            )
    elif not RECOVERED[0] <= c.recovered <= RECOVERED[1]:
        faults.append(
            f"{c.recovered:.1%} of what training changed is in the export; 100% is expected"
        )
    if c.mean_distance_from_base <= c.mean_difference:
        remedy = "finer --dtype" if bound.effect is None else "higher --share-rank"
        faults.append(
            f"the export is no nearer to the trained model ({c.mean_difference:.3g}) than to the "
            f"base ({c.mean_distance_from_base:.3g}); a {remedy} may hold the training"
        )
    return faults


def compare_all(
    rows: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Comparison:
    """The comparison over (live, base, exported) rows."""
    tally = Tally()
    for live, base, exported in rows:
        tally.add(live, base, exported)
    return tally.comparison()
