"""One short name for a set of base weights, whatever file they came from.

The fingerprint is a SHA-256 over canonical names, KerasHub shapes and a few
values of every kernel and embedding, so that the Keras, Hugging Face and GGUF
copies of the same weights agree, and a dequantised 4-bit base is another one.

Values are rounded to bfloat16 (to nearest, ties to even) before they are hashed:
a bfloat16 copy of float32 weights then agrees with them exactly. Norm scales enter
by name and shape alone, because GGUF stores 1 + scale in float32 and the
subtraction can move a small scale to the next bfloat16 number. A float16 copy
agrees only if no sampled value falls below what float16 can hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kerasft.models.families import TensorSpec

_SAMPLES = 64
_VERSION = b"kerasft-fingerprint-1"

Read = Callable[["TensorSpec", np.ndarray], np.ndarray]
"""Values of a tensor at flat positions of its KerasHub layout (row-major)."""


def fingerprint(specs: Iterable[TensorSpec], read: Read) -> str:
    """The fingerprint of the weights that `read` gives, as 64 hexadecimal digits.

    Args:
        specs: the tensors of the model; their order does not matter.
        read: called once for each tensor with more than one axis.
    """
    import ml_dtypes

    digest = hashlib.sha256(_VERSION)
    for spec in sorted(specs, key=lambda spec: spec.name):
        digest.update(f"\n{spec.name} {spec.shape}\n".encode())
        if len(spec.shape) > 1:
            values = np.asarray(read(spec, positions(spec))).astype(np.float32)
            rounded = values.astype(ml_dtypes.bfloat16)
            digest.update(rounded.view(np.uint16).astype("<u2").tobytes())
    return digest.hexdigest()


def positions(spec: TensorSpec) -> np.ndarray:
    """Flat positions that are sampled: fixed by name and size, spread over the tensor."""
    seed = int.from_bytes(hashlib.sha256(spec.name.encode()).digest()[:8], "little")
    offsets = (np.arange(_SAMPLES, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) + np.uint64(
        seed
    )
    return np.unique(offsets % np.uint64(spec.size)).astype(np.int64)


def keras_reader(backbone: Any) -> Read:
    """Reads a live backbone; only the sampled values leave the device."""
    import keras

    def read(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        variable = spec.variable(backbone)
        index = np.unravel_index(at, spec.shape)
        flat = keras.ops.convert_to_tensor(variable)[tuple(axis.astype("int32") for axis in index)]
        return keras.ops.convert_to_numpy(keras.ops.cast(flat, "float32"))

    return read


def array_reader(array_of: Callable[[TensorSpec], np.ndarray]) -> Read:
    """Reads arrays in KerasHub's layout, given by spec."""

    def read(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        return np.asarray(array_of(spec)[np.unravel_index(at, spec.shape)])

    return read


def hf_positions(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
    """Where values at flat KerasHub positions lie in the Hugging Face layout, flat."""
    index = np.unravel_index(at, spec.shape)
    folded = [index[axis] for axis in spec.axes]
    return np.ravel_multi_index(folded, [spec.shape[axis] for axis in spec.axes])


def gguf_positions(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
    """Where values at flat KerasHub positions lie in a GGUF tensor, flat and row-major."""
    flat = hf_positions(spec, at)
    if not spec.gguf_rotary_heads:
        return flat
    # The row i + j·h/2 of a head stands at 2·i + j, for i below h/2 and j of 0 and 1.
    rows, rest = np.divmod(flat, prod(spec.hf_shape[1:]))
    width = spec.hf_shape[0] // spec.gguf_rotary_heads
    heads, row = np.divmod(rows, width)
    j, i = np.divmod(row, width // 2)
    return (heads * width + 2 * i + j) * prod(spec.hf_shape[1:]) + rest
