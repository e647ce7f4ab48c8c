"""What an adapter adds to a kernel, from A and B alone: the one formula for both layouts.

With scale = alpha / rank (Hu et al. 2021, arXiv:2106.09685), ΔW = scale · A·B:

- `keras`: A has the kernel's KerasHub shape with its last axis replaced by the rank, B
  is (rank, last axis), so that the matrix product is the kernel's shape.
- `peft`: the kernel is one matrix (in, out), A is (in, rank), B is (rank, out).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from kerasft.errors import AdapterError, collected

if TYPE_CHECKING:
    from kerasft.models.families import TensorSpec
    from kerasft.recipe import LoraSettings


def adapter_shapes(
    spec: TensorSpec, settings: LoraSettings
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A and B of a kernel."""
    if settings.layout == "keras":
        return (*spec.shape[:-1], settings.rank), (settings.rank, spec.shape[-1])
    outputs, inputs = spec.hf_shape
    return (inputs, settings.rank), (settings.rank, outputs)


def kernel_delta(
    spec: TensorSpec, a: np.ndarray, b: np.ndarray, settings: LoraSettings
) -> np.ndarray:
    """What merging adds to a kernel: float32 in the KerasHub shape.

    Args:
        spec: of the kernel.
        a, b: float32, in the shapes of `adapter_shapes`.
        settings: layout, rank and alpha.

    Raises:
        AdapterError: A or B has another shape.
    """
    found, expected = (tuple(a.shape), tuple(b.shape)), adapter_shapes(spec, settings)
    if found != expected:
        raise AdapterError(
            f"{spec.name}: A and B have the shapes {found[0]} and {found[1]}; expected "
            f"{expected[0]} and {expected[1]} in the layout {settings.layout}"
        )
    product = a.astype(np.float32, copy=False) @ b.astype(np.float32, copy=False)
    product *= np.float32(settings.scale)
    return product if settings.layout == "keras" else spec.from_hf(product.T)


def delta_of(
    spec: TensorSpec, tensors: Mapping[str, np.ndarray], settings: LoraSettings | None
) -> np.ndarray | None:
    """`kernel_delta` from an adapter's tensors (`PATH/a`, `PATH/b`); None if it has none."""
    path = spec.name.removesuffix("/kernel")
    if settings is None or f"{path}/a" not in tensors:
        return None
    return kernel_delta(spec, tensors[f"{path}/a"], tensors[f"{path}/b"], settings)


def check_adapter(
    specs: Iterable[TensorSpec], tensors: Mapping[str, np.ndarray], settings: LoraSettings
) -> None:
    """Compare an adapter with the model that it should fit.

    Args:
        specs: of the base.
        tensors: `PATH/a` and `PATH/b`.
        settings: say which layers have an adapter, and in which shapes.

    Raises:
        AdapterError: every missing, unknown and misshapen tensor, at once.
    """
    expected = {
        f"{spec.name.removesuffix('kernel')}{part}": shape
        for spec in specs
        if spec.target in settings.target_layers
        for part, shape in zip("ab", adapter_shapes(spec, settings), strict=True)
    }
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} belongs to no layer" for name in tensors if name not in expected]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if faults:
        raise AdapterError(collected("the adapter does not fit this model", faults))
