"""Base + delta, tensor by tensor: the one merge that every format writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kerasft.errors import ExportError, collected
from kerasft.export.safetensors_writer import numpy_dtype

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec

_CHUNK_VALUES = 1 << 22


class Merger:
    """Gives merged tensors and keeps account of them.

    What was trained on is the base in its training dtype: a bfloat16 base is not made
    finer, a quantised one is what it was dequantised to. To that the delta is added in
    float32, and the sum is cast once.

    Args:
        weights: the base and its adapter.
        dtype: of the merged tensors.

    Attributes:
        merged: canonical names of the tensors that a delta was added to, so far.
    """

    def __init__(self, weights: WeightsView, dtype: str) -> None:
        self.weights = weights
        self.dtype = dtype
        self.merged: list[str] = []
        self._target = numpy_dtype(dtype)
        self._faults: list[str] = []

    def keras(self, spec: TensorSpec) -> np.ndarray:
        """One merged tensor in its KerasHub shape.

        Raises:
            ExportError: the delta has another shape.
        """
        array = self.weights.base_array(spec)
        delta = self.weights.delta(spec.name)
        if delta is not None:
            if delta.shape != spec.shape:
                raise ExportError(
                    f"{spec.name}: expected a delta of shape {spec.shape}, got {delta.shape}."
                )
            array = array.astype(np.float32)
            array += delta
            self.merged.append(spec.name)
        with np.errstate(over="ignore"):  # what overflows is counted and reported
            array = array.astype(self._target, copy=False)
        wrong = _not_finite(array)
        if wrong:
            self._faults.append(f"{spec.name}: {wrong} of {spec.size} values are not finite")
        return array

    def hf(self, spec: TensorSpec) -> np.ndarray:
        """The same in its Hugging Face shape."""
        return spec.to_hf(self.keras(spec))

    def finish(self) -> None:
        """Raises ExportError with every tensor that the dtype could not hold."""
        if self._faults:
            raise ExportError(
                collected(f"The merged weights do not fit {self.dtype}", self._faults)
            )


def _not_finite(array: np.ndarray) -> int:
    """How many values are not finite, counted in pieces: a mask of an embedding is large."""
    rows = array.reshape(len(array), -1)
    step = max(1, _CHUNK_VALUES // rows.shape[1])
    return sum(
        int(np.count_nonzero(~np.isfinite(rows[start : start + step])))
        for start in range(0, len(rows), step)
    )
