"""Every tensor of a folder against base + delta, element by element.

Logits cannot show everything: in bfloat16 the rounding of all weights moves them more
than one lost delta of a hundred does. Rounding has a bound for each element, though, so
that here whatever goes past it is found. A step of q8_0 can be wider than a whole delta;
there the sum over a tensor tells, in which roundings cancel and a delta does not. Pure
NumPy, one tensor at a time and of that one piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerasft.export.proof import RECOVERED

if TYPE_CHECKING:
    from kerasft.export.stored import Stored
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec

_CHUNK_VALUES = 1 << 22
_Q8_BLOCK, _Q8_LEVELS = 32, 127

_HALF_ULP = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest rounding error of a number in [1, 2), round to nearest: half its last place."""

_SMALLEST = {"float32": 2.0**-150, "float16": 2.0**-25, "bfloat16": 2.0**-134}
"""The same of numbers that are too small to be normal."""

_SUM = 2.0**-22
"""Error of base + delta in float32, as a fraction of the sum: two roundings of 2⁻²⁴, doubled."""

_KEPT, _DEVIATIONS = 0.5, 6
"""A tensor's delta is lost where less than half of it, or more than half too much, is there
and rounding that is independent of the delta gives that in six standard deviations or more."""

_PRODUCT = 2.0**-18
"""Error of A·B in float32, as a fraction of the largest element of the delta: products
are added in another order elsewhere."""


@dataclass(frozen=True)
class TensorComparison:
    """The stored tensors against those that were trained.

    Attributes:
        tensors: how many were compared.
        values: how many values they have.
        adapted: how many of the tensors have a delta.
        wrong_tensors: tensors that are missing or have a value that is off.
        wrong_values: values that are further off than rounding moves them.
        largest_share: the largest difference of any value as a share of what rounding
            may move it by; at most 1 where all is well.
        worst_tensor: the tensor that has it.
        recovered: the projection of (stored − base) on the deltas, over all tensors: 1
            where every delta is there, 0 where none is; None without deltas.
    """

    tensors: int
    values: int
    adapted: int
    wrong_tensors: int
    wrong_values: int
    largest_share: float
    worst_tensor: str
    recovered: float | None


def compare_tensors(weights: WeightsView, stored: Stored) -> tuple[TensorComparison, list[str]]:
    """Every tensor of a model against a folder's.

    A stored value must be the trained one, rounded to the type that it is stored in. The
    largest error of that is half the last place of the sum (or half a step of its block
    of 32 for q8_0). To it come the arithmetic of float32, and one more rounding of the
    delta alone: whoever merges in the stored type rounds it before the addition.

    Returns:
        What was measured, and a fault for every tensor that is wrong.
    """
    results = [_compare(weights, stored, spec) for spec in weights.family.tensors(weights.config)]
    faults = [result.fault for result in results if result.fault]
    worst = max(results, key=lambda result: result.share)
    squared = sum(result.squared for result in results)
    comparison = TensorComparison(
        tensors=len(results),
        values=sum(result.values for result in results),
        adapted=sum(result.squared > 0 for result in results),
        wrong_tensors=len(faults),
        wrong_values=sum(result.wrong for result in results),
        largest_share=worst.share,
        worst_tensor=worst.name,
        recovered=sum(result.along for result in results) / squared if squared else None,
    )
    return comparison, faults


def judge_training(comparison: TensorComparison) -> list[str]:
    """A fault where rounding took more of the training than `RECOVERED` leaves.

    For a proof without logits, which would show it: a value may be as near to its sum as
    its type allows, and still be the base's, where the delta is less than a last place.
    """
    part = comparison.recovered
    if part is None or RECOVERED[0] <= part <= RECOVERED[1]:
        return []
    return [
        f"{part:.1%} of what training changed is in the tensors; 100% is expected. A finer --dtype "
        "may hold it"
    ]


@dataclass
class _Result:
    """Sums over the pieces of one tensor."""

    name: str
    values: int
    fault: str = ""
    wrong: int = 0
    share: float = 0.0
    along: float = 0.0
    squared: float = 0.0
    noise: float = 0.0


def _compare(weights: WeightsView, stored: Stored, spec: TensorSpec) -> _Result:
    result = _Result(spec.name, spec.size)
    array = stored.tensor(spec)
    if array is None:
        result.fault = f"{spec.name} is missing or has another shape"
        return result
    dtype, base, delta = stored.dtype_of(spec), weights.base_array(spec), weights.delta(spec.name)
    largest = 0.0 if delta is None else float(np.abs(delta).max())
    array, base = spec.to_hf(array), spec.to_hf(base)
    delta = None if delta is None else spec.to_hf(delta)
    for part in _parts(spec.hf_shape):
        found, start = (each[part].astype(np.float32) for each in (array, base))
        change = None if delta is None else delta[part]
        expected = start if change is None else start + change
        if change is not None:
            moved = np.nan_to_num(found - start)
            result.along += float((moved * change).sum(dtype=np.float64))
            result.squared += float((change * change).sum(dtype=np.float64))
        difference = np.abs(found - expected)
        if not difference.any():  # as most are that have no delta
            continue
        allowed = _allowed(expected, dtype, largest)
        if change is not None:
            result.noise += float(np.square(allowed * change).sum(dtype=np.float64))
        share = difference / allowed
        share[~np.isfinite(share)] = np.inf
        result.wrong += int(np.count_nonzero(share > 1))
        result.share = max(result.share, float(share.max()))
    if result.wrong:
        result.fault = (
            f"{spec.name}: {result.wrong} of {spec.size} values differ by more than rounding to "
            f"{dtype}, by up to {result.share:.3g} times as much"
        )
        if result.squared:
            result.fault += f"; {result.along / result.squared:.1%} of its delta is there"
    elif dtype == "q8_0" and _is_lost(result):
        result.fault = (
            f"{spec.name}: {result.along / result.squared:.1%} of its delta is there, though each "
            f"value is within its rounding to {dtype}; a finer --dtype may hold it"
        )
    return result


def _is_lost(result: _Result) -> bool:
    """Whether the part of a delta that is there cannot come from rounding what was trained.

    An error that lies evenly within ± e has a variance of e²/3; along and squared weigh
    it with the delta.
    """
    if not result.squared:
        return False
    deviation = np.sqrt(result.noise / 3) / result.squared
    beside = abs(result.along / result.squared - 1)
    return bool(beside > max(_KEPT, _DEVIATIONS * deviation))


def _parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a tensor, a few at a time."""
    step = max(1, _CHUNK_VALUES // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def _allowed(expected: np.ndarray, dtype: str, largest_delta: float) -> np.ndarray:
    """How far each stored value may be from the expected one, float32 in its shape.

    Args:
        expected: some rows of a tensor in its Hugging Face layout.
        dtype: that it is stored in.
        largest_delta: largest absolute element of the tensor's delta.
    """
    size = np.abs(expected)
    slack = np.float32(_PRODUCT * largest_delta) + np.float32(_SUM) * size
    if dtype == "q8_0":
        return slack + _q8_steps(size)
    half = _HALF_ULP[dtype]
    _, exponent = np.frexp(size)  # size = m · 2^exponent with m in [0.5, 1)
    rounding = np.maximum(np.ldexp(np.float32(half), exponent - 1), np.float32(_SMALLEST[dtype]))
    if dtype != "float32":
        slack += np.float32(half * largest_delta)
    return rounding + slack


def _q8_steps(size: np.ndarray) -> np.ndarray:
    """Half a step of each value's block of 32, and the rounding of the step to float16.

    ggml's Q8_0 keeps d = max |x| / 127 of a block in float16, and x as round(x / d):
    half a step, and 127 times what float16 takes from d.
    """
    blocks = size.reshape(-1, _Q8_BLOCK)
    step = blocks.max(axis=1, keepdims=True) / _Q8_LEVELS
    error = np.maximum(step * _HALF_ULP["float16"], _SMALLEST["float16"])
    allowed = step / 2 + _Q8_LEVELS * error
    return np.broadcast_to(allowed, blocks.shape).reshape(size.shape).astype(np.float32)
