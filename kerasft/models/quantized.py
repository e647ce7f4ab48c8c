"""What Keras' quantised layers compute with, as float32 in the shape of the kernel.

Sources: `EinsumDense`, `Dense`, `Embedding` and `ReversibleEmbedding` of keras 3.15, and
`unpack_int4` and `dequantize_with_sz_map` in its keras/src/quantizers/quantizers.py.

Keras multiplies when it quantises and divides when it goes back: int8 values are
w · scale with scale = 127 / max |w|, one scale for each output. int4 kernels are cut into
rows × columns, two columns a byte; by default 128 rows share a scale and a zero point, and
there w = (q − zero) · scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kerasft.models.families import TensorSpec


def scale_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape in which one scale for each output stands beside the kernel."""
    size, outputs = 1, set()
    # The outputs are the axes that make the first one of the Hugging Face layout.
    for axis in spec.axes:
        if size == spec.hf_shape[0]:
            break
        size *= spec.shape[axis]
        outputs.add(axis)
    return tuple(size if axis in outputs else 1 for axis, size in enumerate(spec.shape))


def packed_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape in which int4 is stored: two values of the packed axis a byte."""
    if spec.name == "output_embedding/embeddings":
        return (-(-spec.shape[0] // 2), spec.shape[1])
    columns = int(np.prod(scale_shape(spec)))
    if spec.name == "token_embedding/embeddings":
        columns = spec.shape[1]
    return (spec.size // columns, -(-columns // 2))


def from_int8(spec: TensorSpec, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 in the KerasHub shape: values / scale.

    Args:
        values: int8, in the KerasHub shape.
        scale: one number for each output, in any shape.
    """
    divisor = scale.astype(np.float32).reshape(scale_shape(spec))
    array = values.astype(np.float32)
    array /= divisor
    return array


def from_int4(
    spec: TensorSpec,
    packed: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """float32 in the KerasHub shape.

    Args:
        packed: int8 of `packed_shape`.
        scale: without zero points one number a row of an embedding, a column of a kernel;
            with them (groups, columns), for an embedding (rows, groups).
        zero: of the shape of `scale`.
        groups: for each row of a kernel, each column of an embedding, its group.
    """
    embedding = spec.name == "token_embedding/embeddings"
    axis = 0 if spec.name == "output_embedding/embeddings" else 1
    length = spec.shape[0] if axis == 0 else spec.size // packed.shape[0]
    array = unpack_int4(packed, length, axis).astype(np.float32)
    scale = scale.astype(np.float32)
    if zero is None or groups is None:
        array /= scale[:, None] if embedding else scale[None]
    else:
        along = 1 if embedding else 0
        index = groups.astype(np.int64)
        array -= np.take(zero.astype(np.float32), index, axis=along)
        array *= np.take(scale, index, axis=along)
    return array.reshape(spec.shape)


def unpack_int4(packed: np.ndarray, length: int, axis: int) -> np.ndarray:
    """The int8 numbers −8…7 of bytes that hold two each, the first in the low half.

    Args:
        packed: int8, two-dimensional.
        length: of the axis once it is unpacked; an odd one has half a byte to spare.
        axis: that two numbers share a byte of.
    """
    halves = np.stack([packed << 4, packed], axis=axis + 1) >> 4
    shape = [2 * size if at == axis else size for at, size in enumerate(packed.shape)]
    return np.take(halves.reshape(shape), np.arange(length), axis=axis)
