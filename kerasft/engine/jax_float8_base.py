"""The kernels of a base, rounded to float8 while JAX trains beside them, and afterwards."""

from collections.abc import Sequence
from typing import Any

import jax

from kerasft.engine.float8 import check_matrices
from kerasft.engine.jax_float8 import (
    BackwardMatrix,
    Float8Matrix,
    backward_copy,
    float8_matrix,
)
from kerasft.models.architecture import Block


class Float8Base:
    """The matrices of blocks, rounded, and their originals.

    Args:
        blocks: of the decoder.
        quantization: as `model.quantization`: float8 or float8-backward.

    Attributes:
        matrices: by the `id` of a kernel's variable; empty where nothing is rounded.

    Raises:
        ModelError: the matrices cannot be in float8.
    """

    def __init__(self, blocks: Sequence[Block], quantization: str) -> None:
        self.matrices: dict[int, Float8Matrix | BackwardMatrix] = {}
        self._whole = quantization == "float8"
        self._projections = [each for block in blocks for each in block.projections.values()]
        self._place: Any = None
        check_matrices(
            (target, (each.inputs, each.outputs), str(each.kernel.dtype))
            for block in blocks
            for target, each in block.projections.items()
        )

    def round(self) -> None:
        """Round the kernels, unless they are.

        Originals that nothing computes with go, bit for bit, to the host.
        """
        if self.matrices:
            return
        host = jax.local_devices(backend="cpu")[0]
        for projection in self._projections:
            kernel = projection.kernel
            original = kernel.value
            arguments = projection.axes, projection.outputs, original
            if not self._whole:
                self.matrices[id(kernel)] = BackwardMatrix(original, *backward_copy(*arguments))
                continue
            self._place = original.sharding
            self.matrices[id(kernel)] = float8_matrix(*arguments)
            kernel.assign(jax.device_put(original, host))

    def restore(self) -> None:
        """Give up what was rounded; originals on the host come back to the device."""
        for projection in self._projections:
            kernel = projection.kernel
            if isinstance(self.matrices.pop(id(kernel), None), Float8Matrix):
                kernel.assign(jax.device_put(kernel.value, self._place))
