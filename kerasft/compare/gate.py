"""The parity gate: did two runs do the same work? Pure functions on probes and losses.

Hashes, names and shapes must be equal. Numbers of the same arithmetic in another order differ
by rounding, for which each type has a bound (`BOUNDS`). docs/compare.md has what was measured
and how far the bounds are from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerasft.compare.probing import Probe
from kerasft.compare.result import CHECKS, Check

FIRST_LOSSES = 20
"""Steps whose losses are held against each other."""


@dataclass(frozen=True)
class Bounds:
    """What rounding may explain.

    Attributes:
        logits: largest difference, as a share of the range of all logits that were looked at.
        loss: relative.
        gradient: Euclidean norm of the difference over that of the reference's gradient.
        losses: of the first steps, relative, their root mean square.
    """

    logits: float
    loss: float
    gradient: float
    losses: float


BOUNDS = {
    "float32": Bounds(logits=1e-4, loss=3e-5, gradient=5e-4, losses=1e-3),
    "bfloat16": Bounds(logits=3e-2, loss=5e-3, gradient=1e-1, losses=1e-2),
    "float16": Bounds(logits=4e-3, loss=1e-3, gradient=2e-2, losses=3e-3),
}
"""By the type of the base. float32 has a significand of 24 bits, bfloat16 of 8, float16 of 11."""


@dataclass(frozen=True)
class Looked:
    """One run as the gate sees it.

    Attributes:
        probe: or why there is none.
        losses: of its first steps, in order.
        engine: keras, hf or trl.
        dropout: `lora.dropout`.
    """

    probe: Probe | str
    losses: Sequence[float]
    engine: str
    dropout: float


@dataclass(frozen=True)
class _Found:
    """A check of one pair of runs; `Check` without whose it is."""

    value: float | None
    bound: float | None
    passed: bool
    detail: str


def gate(
    reference: Mapping[int, Looked], name: str, contender: Mapping[int, Looked]
) -> list[Check]:
    """Hold a contender against the reference, seed by seed; the worst of each check.

    Args:
        reference, contender: by seed; the seeds that both have are looked at.
        name: the contender's.

    Returns:
        One check of each of `CHECKS`; none where they have no seed in common.
    """
    seeds = sorted(reference.keys() & contender.keys())
    found = [_pair(reference[seed], contender[seed]) for seed in seeds]
    checks = []
    for what in CHECKS if seeds else ():
        worst = max((each[what] for each in found), key=_badness)
        checks.append(
            Check(
                contender=name,
                what=what,
                value=worst.value,
                bound=worst.bound,
                passed=worst.passed,
                seeds=tuple(seeds),
                detail=worst.detail,
            )
        )
    return checks


def _badness(found: _Found) -> tuple[bool, float]:
    value = 0.0 if found.value is None else found.value
    return not found.passed, value if value == value else float("inf")


def _pair(ours: Looked, theirs: Looked) -> dict[str, _Found]:
    missing = [each.probe for each in (ours, theirs) if isinstance(each.probe, str)]
    if isinstance(ours.probe, str) or isinstance(theirs.probe, str):
        nothing = _Found(None, None, False, f"could not be measured: {missing[0]}")
        found = dict.fromkeys(CHECKS, nothing)
    else:
        found = _probes(ours.probe, theirs.probe)
    return {**found, "first losses": _first_losses(ours, theirs)}


def _probes(ours: Probe, theirs: Probe) -> dict[str, _Found]:
    bounds = _bounds(ours, theirs)
    return {
        "token ids": _equal(
            ours.token_ids == theirs.token_ids,
            f"token ids, positions and targets of the {ours.windows} windows of the first epoch",
        ),
        "base weights": _equal(ours.base == theirs.base, "the base's fingerprint"),
        "trained parameters": _parameters(ours, theirs),
        "starting A and B": _starting(ours, theirs),
        "initial logits": _logits(ours, theirs, bounds.logits),
        "initial loss": _loss(ours, theirs, bounds.loss),
        "first gradient of A": _gradient(ours, theirs, "/a", bounds.gradient),
        "first gradient of B": _gradient(ours, theirs, "/b", bounds.gradient),
    }


def _bounds(ours: Probe, theirs: Probe) -> Bounds:
    """Of the coarser of the two types."""
    return max((BOUNDS[each.dtype] for each in (ours, theirs)), key=lambda bounds: bounds.logits)


def _equal(passed: bool, what: str) -> _Found:
    return _Found(None, None, passed, f"{what}: {'the same' if passed else 'not the same'}")


def _parameters(ours: Probe, theirs: Probe) -> _Found:
    shapes = [
        {name: tuple(shape) for name, shape in each.shapes.items()} for each in (ours, theirs)
    ]
    counts = f"{ours.parameters:,} and {theirs.parameters:,} trained values"
    different = sorted(
        name
        for name in shapes[0].keys() | shapes[1].keys()
        if shapes[0].get(name) != shapes[1].get(name)
    )
    if not different:
        tensors = len(shapes[0])
        return _Found(None, None, True, f"{counts}, {tensors} tensors of the same names and shapes")
    first = different[0]
    said = " and ".join(str(each.get(first, "none")) for each in shapes)
    more = f" and {len(different) - 1} others" if len(different) > 1 else ""
    return _Found(None, None, False, f"{counts}; {first} ({said}){more} differ")


def _starting(ours: Probe, theirs: Probe) -> _Found:
    names = sorted(ours.starting.keys() | theirs.starting.keys())
    different = [name for name in names if ours.starting.get(name) != theirs.starting.get(name)]
    if not different:
        return _Found(
            None, None, True, f"all {len(names)} tensors have the same values, to the bit"
        )
    detail = f"{len(different)} of {len(names)} tensors differ, {different[0]} the first"
    return _Found(None, None, False, detail)


def _logits(ours: Probe, theirs: Probe, bound: float) -> _Found:
    if ours.logits.shape != theirs.logits.shape:
        detail = f"of shapes {ours.logits.shape} and {theirs.logits.shape}"
        return _Found(None, bound, False, detail)
    extent = float(ours.logits.max() - ours.logits.min())
    difference = float(np.abs(theirs.logits - ours.logits).max())
    detail = (
        f"largest difference of the logits of {len(ours.logits)} supervised positions, as a share "
        f"of their range of {extent:.3g}"
    )
    return _within(difference / extent if extent else difference, bound, detail)


def _loss(ours: Probe, theirs: Probe, bound: float) -> _Found:
    pairs = [(ours.loss, theirs.loss), (ours.moved_loss, theirs.moved_loss)]
    value = _largest(_relative(mine, other) for mine, other in pairs)
    detail = (
        f"relative difference of the loss of the first window: {ours.loss:.6g} and "
        f"{theirs.loss:.6g}; at the second point {ours.moved_loss:.6g} and {theirs.moved_loss:.6g}"
    )
    return _within(value, bound, detail)


def _gradient(ours: Probe, theirs: Probe, side: str, bound: float) -> _Found:
    points = [("the second point", ours.moved_gradients, theirs.moved_gradients)]
    if side == "/b":
        points.insert(0, ("the start", ours.gradients, theirs.gradients))
    found = []
    for point, mine, other in points:
        names = sorted(name for name in mine.keys() | other.keys() if name.endswith(side))
        unlike = [
            name
            for name in names
            if getattr(mine.get(name), "shape", None) != getattr(other.get(name), "shape", None)
        ]
        if unlike:
            return _Found(None, bound, False, f"{len(unlike)} of {len(names)} have no counterpart")
        square = sum(_squares(other[name] - mine[name]) for name in names)
        norm = sum(_squares(mine[name]) for name in names)
        found.append((float(np.sqrt(square / norm)) if norm else float(np.sqrt(square)), point))
    value, point = max(found, key=lambda each: each[0] if each[0] == each[0] else float("inf"))
    detail = f"norm of the difference over the norm of the gradient of all {side[1:].upper()}, at "
    return _within(value, bound, detail + point)


def _first_losses(ours: Looked, theirs: Looked) -> _Found:
    count = min(FIRST_LOSSES, len(ours.losses), len(theirs.losses))
    if not count:
        return _Found(None, None, False, "a run has no losses")
    pairs = zip(ours.losses[:count], theirs.losses[:count], strict=True)
    # A single step may stand out: rounding that came through a few updates is not small any more.
    value = float(np.sqrt(np.mean([_relative(mine, other) ** 2 for mine, other in pairs])))
    detail = f"root mean square of the relative differences of the first {count} losses"
    if ours.dropout or theirs.dropout:
        if not ours.engine == theirs.engine == "keras":
            why = "not judged, for each stack draws its own dropout"
            return _Found(value, None, True, f"{detail}; {why}")
        anchors = []
    else:
        anchors = [each for each in (ours, theirs) if isinstance(each.probe, Probe)]
    # What was probed is what was run: the run's own first loss is that of its probe.
    own = [_relative(each.probe.loss, each.losses[0]) for each in anchors]
    if own:
        value = _largest([value, *own])
        detail += ", or that of a run's first from its probe's"
    types = [each.probe.dtype for each in (ours, theirs) if isinstance(each.probe, Probe)]
    bound = max((BOUNDS[dtype].losses for dtype in types), default=BOUNDS["float32"].losses)
    return _within(value, bound, detail)


def _within(value: float, bound: float, detail: str) -> _Found:
    return _Found(value, bound, bool(value <= bound), detail)


def _largest(values: Iterable[float]) -> float:
    """nan where one of them is."""
    return float(np.max(list(values)))


def _relative(ours: float, theirs: float) -> float:
    """nan where either is no number, which no bound lets pass."""
    return abs(theirs - ours) / max(abs(ours), 1e-12)


def _squares(value: np.ndarray) -> float:
    return float(np.square(value.astype(np.float64)).sum())
