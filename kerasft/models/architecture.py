"""A decoder as plain numbers: what the training step needs to know of a family.

KerasHub's layers are made for one row a sequence and for every position's logits. The
step computes the same function from the same variables, for packed rows and with fewer
passes over memory; this is the description that it is built from. Each family fills it
in, and the tests hold it against KerasHub's own forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kerasft.models.families.base import TensorSpec
    from kerasft.models.lora import Lora, LoraLinear


@dataclass(frozen=True, eq=False)
class Architecture:
    """A stack of pre-norm decoder blocks with gated feed-forward layers.

    Attributes:
        kinds: of each block, `local` (sliding window) or `global`.
        width: of the residual stream.
        query_heads, key_value_heads, head_width: of the attention.
        query_scale: what queries are multiplied by.
        window: tokens that a query of a local block sees, itself included.
        attention_soft_cap: c of c·tanh(x / c) on attention logits, or None.
        query_key_norm: whether queries and keys are normalised head by head.
        post_attention_norm, post_ffw_norm: whether a sublayer's output is normalised
            before it is added.
        activation: of the gate: `gelu` (tanh approximation) or `silu`.
        norm_epsilon: of every RMS norm.
        norm_offset: added to a norm's scale: 1 for Gemma, 0 for Llama.
        embedding_scale: what embeddings are multiplied by, or None.
        inverse_frequencies: of the rotary embedding by kind: float32 (head_width / 2,),
            radians a position.
    """

    kinds: tuple[str, ...]
    width: int
    query_heads: int
    key_value_heads: int
    head_width: int
    query_scale: float
    window: int | None
    attention_soft_cap: float | None
    query_key_norm: bool
    post_attention_norm: bool
    post_ffw_norm: bool
    activation: str
    norm_epsilon: float
    norm_offset: float
    embedding_scale: float | None
    inverse_frequencies: Mapping[str, np.ndarray]

    def window_of(self, kind: str) -> int | None:
        """Tokens that a query of a block of this kind sees; None for all before it."""
        return self.window if kind == "local" else None


def inverse_frequencies(head_width: int, wavelength: float, scaling: float = 1.0) -> np.ndarray:
    """θ^(−2i/h) / scaling for i < h/2, float32 (Su et al. 2021, arXiv:2104.09864)."""
    exponents = np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width)
    return (np.float32(wavelength) ** -exponents / np.float32(scaling)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear layer of a block as a matrix, and its adapter.

    A kernel in KerasHub's shape is `transpose(axes).reshape(outputs, inputs)` of the
    matrix that transformers keeps.

    Attributes:
        kernel: the frozen variable.
        axes: KerasHub's axes, those of the output first.
        outputs, inputs: sizes of the matrix.
        lora: the adapter beside it, or None.
    """

    kernel: Any
    axes: tuple[int, ...]
    outputs: int
    inputs: int
    lora: LoraLinear | None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The kernel's axes that make up the outputs, such as (heads, head width)."""
        shape = [int(self.kernel.shape[axis]) for axis in self.axes]
        split = next(at for at in range(1, len(shape)) if prod(shape[:at]) == self.outputs)
        return tuple(shape[:split])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The kernel's axes that make up the inputs."""
        return tuple(int(self.kernel.shape[a]) for a in self.axes[len(self.output_shape) :])

    @property
    def kernel_axes(self) -> tuple[int, ...]:
        """Where each axis of the kernel lies among the outputs' and inputs' axes."""
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))

    @property
    def a_axes(self) -> tuple[int, ...]:
        """A's axes, those of the input first: for A in the kernel's own shape.

        A of the `keras` layout has the kernel's shape with the rank as its last axis;
        transposed so and flattened to (inputs, groups · rank) it is a matrix. The
        groups are the heads that share one B.
        """
        split = len(self.output_shape)
        return self.axes[split:] + self.axes[:split]


@dataclass(frozen=True, eq=False)
class Block:
    """The variables of one decoder block.

    Attributes:
        kind: `local` or `global`.
        projections: by target: query, key, value, output, gate, up, down.
        norms: scale variables by canonical name, such as `pre_attention_norm`.
    """

    kind: str
    projections: Mapping[str, Projection]
    norms: Mapping[str, Any]


def blocks_of(
    backbone: Any, specs: Iterable[TensorSpec], kinds: tuple[str, ...], lora: Lora
) -> list[Block]:
    """The live variables of every block, first to last.

    Args:
        backbone: a KerasHub backbone, with the adapter on it.
        specs: its family's table, `Family.tensors(config)`.
        kinds: of the blocks.
        lora: the adapter.
    """
    projections: list[dict[str, Projection]] = [{} for _ in kinds]
    norms: list[dict[str, Any]] = [{} for _ in kinds]
    for spec in specs:
        if spec.layer is None:
            continue
        path = spec.name.rpartition("/")[0]
        if spec.target is None:
            norms[spec.layer][path.rpartition("/")[2]] = spec.variable(backbone)
        else:
            projections[spec.layer][spec.target] = Projection(
                kernel=spec.variable(backbone),
                axes=spec.axes,
                outputs=spec.hf_shape[0],
                inputs=spec.hf_shape[1],
                lora=lora.layers.get(path),
            )
    return [Block(*parts) for parts in zip(kinds, projections, norms, strict=True)]
