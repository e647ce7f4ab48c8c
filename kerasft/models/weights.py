"""Putting stored tensors into a live model, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kerasft.errors import ModelError, collected
from kerasft.models.families import TensorSpec

_ROWS_MAY_EXCEED = ("token_embedding/embeddings", "output_embedding/embeddings")
"""Checkpoints pad the vocabulary; rows past the model's are left out."""


def check_shapes(
    specs: Iterable[TensorSpec],
    stored_shape: Callable[[TensorSpec], tuple[int, ...] | None],
    what: str,
) -> None:
    """Compares a checkpoint's table of contents with the model before either is loaded.

    Args:
        stored_shape: the stored shape of a tensor in Hugging Face layout; None if absent.
        what: the checkpoint, for the message.

    Raises:
        ModelError: all missing and misshapen tensors at once.
    """
    faults = []
    for spec in specs:
        shape = stored_shape(spec)
        if shape is None:
            faults.append(f"{spec.hf} is missing")
        elif shape != spec.hf_shape and not _padded(spec, shape):
            faults.append(f"{spec.hf}: expected shape {spec.hf_shape}, got {shape}")
    if faults:
        raise ModelError(collected(f"{what} does not hold the model that its config says", faults))


def _padded(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    return (
        spec.name in _ROWS_MAY_EXCEED
        and len(shape) == len(spec.hf_shape)
        and shape[0] > spec.hf_shape[0]
        and shape[1:] == spec.hf_shape[1:]
    )


def without_padding(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """The rows of a stored tensor that the model has (a view)."""
    return array[: spec.hf_shape[0]] if spec.name in _ROWS_MAY_EXCEED else array


def fill(
    backbone: Any, specs: Iterable[TensorSpec], read: Callable[[TensorSpec], np.ndarray]
) -> None:
    """Assigns every tensor, holding one stored tensor at a time.

    Args:
        read: the values of a tensor in KerasHub's shape, in any float type.
    """
    for spec in specs:
        assign(spec.variable(backbone), read(spec))


def assign(variable: Any, array: np.ndarray) -> None:
    """Sets a Keras variable without a second copy of the values on the way.

    Keras' torch backend would copy every array, and widen a bfloat16 one to float32
    first: hundreds of megabytes for an embedding of a quarter million words.
    """
    import keras

    variable.assign(as_torch(array) if keras.backend.backend() == "torch" else array)


def as_torch(array: np.ndarray) -> Any:
    import torch

    array = np.ascontiguousarray(array)
    if not array.flags.writeable:  # torch warns about read-only memory, even to read from
        array = array.copy()
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
