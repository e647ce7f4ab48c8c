"""The kernels of a base in float8 while JAX trains beside them, and back afterwards."""

from collections.abc import Sequence
from typing import Any

import jax

from kerasft.engine.float8 import check_matrices
from kerasft.engine.jax_float8 import Float8Matrix, float8_matrix
from kerasft.models.architecture import Block


class Float8Base:
    """The matrices of blocks, rounded, and their originals.

    Args:
        blocks: of the decoder.

    Attributes:
        matrices: by the `id` of a kernel's variable; empty where nothing is rounded.

    Raises:
        ModelError: the matrices cannot be in float8.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.matrices: dict[int, Float8Matrix] = {}
        self._projections = [each for block in blocks for each in block.projections.values()]
        self._place: Any = None
        check_matrices(
            (target, (each.inputs, each.outputs), str(each.kernel.dtype))
            for block in blocks
            for target, each in block.projections.items()
        )

    def round(self) -> None:
        """Round the kernels, unless they are; their originals, bit for bit, go to the host."""
        if self.matrices:
            return
        host = jax.local_devices(backend="cpu")[0]
        for projection in self._projections:
            kernel = projection.kernel
            original = kernel.value
            self._place = original.sharding
            self.matrices[id(kernel)] = float8_matrix(projection.axes, projection.outputs, original)
            kernel.assign(jax.device_put(original, host))

    def restore(self) -> None:
        """Bring the originals back to the device, in place of what was rounded."""
        for projection in self._projections:
            kernel = projection.kernel
            if self.matrices.pop(id(kernel), None) is not None:
                kernel.assign(jax.device_put(kernel.value, self._place))
