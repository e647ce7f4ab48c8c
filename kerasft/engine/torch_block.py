"""The decoder of an `Architecture` on torch: pure functions of tensors.

Rows of a micro-batch are laid out as one line of T = B·L tokens. A block is one function
of the residual stream and of its own weights, so that one compiled function serves every
block of its kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from kerasft.engine.dropout import MULTIPLIERS, threshold
from kerasft.models.architecture import Architecture, Block

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Adapter:
    """How an adapter lies beside its kernel.

    Attributes:
        a_axes: A's axes, those of the input first; None where A is (inputs, rank).
        scale: alpha / rank.
        dropout: on its input while training.
    """

    a_axes: tuple[int, ...] | None
    scale: float
    dropout: float


@dataclass(frozen=True)
class Linear:
    """A projection without its tensors: see `Projection`."""

    axes: tuple[int, ...]
    outputs: int
    inputs: int
    adapter: Adapter | None


@dataclass(frozen=True)
class BlockPlan:
    """All that is fixed when a block is compiled.

    Attributes:
        architecture: sizes, norms, activation.
        kind: `local` or `global`.
        linears: by target.
        training: whether dropout acts.
    """

    architecture: Architecture
    kind: str
    linears: Mapping[str, Linear]
    training: bool


def plan_block(architecture: Architecture, block: Block, training: bool) -> BlockPlan:
    """What `block` is, without its variables."""
    linears = {}
    for target, projection in block.projections.items():
        layer = projection.lora
        adapter = None
        if layer is not None and layer.active:
            axes = projection.a_axes if layer.layout == "keras" else None
            adapter = Adapter(axes, layer.scale, layer.dropout if training else 0.0)
        linears[target] = Linear(projection.axes, projection.outputs, projection.inputs, adapter)
    return BlockPlan(architecture, block.kind, linears, training)


def frozen_tensors(block: Block) -> dict[str, torch.Tensor]:
    """Kernels and norm scales of a block, by target and by name."""
    tensors = {name: projection.kernel.value for name, projection in block.projections.items()}
    return tensors | {name: scale.value for name, scale in block.norms.items()}


def adapter_tensors(block: Block) -> dict[str, torch.Tensor]:
    """A and B of a block that act, by `TARGET/a` and `TARGET/b`."""
    return {
        f"{target}/{name}": variable.value
        for target, projection in block.projections.items()
        if projection.lora is not None and projection.lora.active
        for name, variable in (("a", projection.lora.a), ("b", projection.lora.b))
    }


Attention = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]], torch.Tensor
]
"""From queries (T, heads, h), keys and values (T, key-value heads, h) and what the
attention of the device reads of the rows, to (T, heads, h)."""


def decoder_block(
    plan: BlockPlan,
    attention: Attention,
    hidden: torch.Tensor,
    frozen: Tensors,
    adapters: Tensors,
    rotary: tuple[torch.Tensor, torch.Tensor],
    rows: tuple[torch.Tensor, ...],
    keys: Tensors,
) -> torch.Tensor:
    """One pre-norm decoder block.

    Args:
        plan: what the block is.
        attention: how tokens of a row see each other.
        hidden: (T, width), the residual stream.
        frozen, adapters: its tensors.
        rotary: cosine and sine, (T, h / 2) each.
        rows: what `attention` reads of the rows.
        keys: of the dropout by target, int64 scalars; empty without dropout.

    Returns:
        (T, width).
    """
    arch = plan.architecture

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return rms_norm(x, frozen[name], arch)

    def linear(x: torch.Tensor, target: str) -> torch.Tensor:
        return _linear(x, plan.linears[target], frozen[target], adapters, target, keys)

    tokens = hidden.shape[0]
    x = norm(hidden, "pre_attention_norm")
    query = linear(x, "query").view(tokens, arch.query_heads, arch.head_width)
    key = linear(x, "key").view(tokens, arch.key_value_heads, arch.head_width)
    value = linear(x, "value").view(tokens, arch.key_value_heads, arch.head_width)
    if arch.query_key_norm:
        query, key = norm(query, "query_norm"), norm(key, "key_norm")
    seen = attention(_rotate(query, rotary), _rotate(key, rotary), value, rows)
    x = linear(seen.reshape(tokens, arch.query_heads * arch.head_width), "output")
    if arch.post_attention_norm:
        x = norm(x, "post_attention_norm")
    hidden = hidden + x
    x = norm(hidden, "pre_ffw_norm")
    gate = linear(x, "gate")
    gate = F.gelu(gate, approximate="tanh") if arch.activation == "gelu" else F.silu(gate)
    x = linear(gate * linear(x, "up"), "down")
    if arch.post_ffw_norm:
        x = norm(x, "post_ffw_norm")
    return hidden + x


def rms_norm(x: torch.Tensor, scale: torch.Tensor, arch: Architecture) -> torch.Tensor:
    """x / √(mean x² + ε) · (offset + scale) in float32, in the type of x."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + arch.norm_epsilon)
    return (wide * (scale.float() + arch.norm_offset)).to(x.dtype)


def rotary_angles(
    positions: torch.Tensor, frequencies: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine (T, h / 2) of positions (T,), rounded to the type of the model."""
    angles = positions.float()[:, None] * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate (T, heads, h) by its halves."""
    cosine, sine = rotary[0][:, None], rotary[1][:, None]
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def _linear(
    x: torch.Tensor,
    linear: Linear,
    kernel: torch.Tensor,
    adapters: Tensors,
    target: str,
    keys: Tensors,
) -> torch.Tensor:
    """x · W, plus the adapter's scale · (x · A) · B in the type of x."""
    y = F.linear(x, kernel.permute(linear.axes).reshape(linear.outputs, linear.inputs))
    adapter = linear.adapter
    if adapter is None:
        return y
    if adapter.dropout:
        x = _dropout(x, keys[target], adapter.dropout)
    a, b = adapters[f"{target}/a"].to(x.dtype), adapters[f"{target}/b"].to(x.dtype)
    if adapter.a_axes is not None:
        a = a.permute(adapter.a_axes).reshape(linear.inputs, -1)
    low = torch.mm(x, a)
    if a.shape[1] == b.shape[0]:
        return y + adapter.scale * torch.mm(low, b)
    # A of its own for each head, one B for all of them.
    return y + adapter.scale * torch.mm(low.view(-1, b.shape[0]), b).view_as(y)


def _dropout(x: torch.Tensor, key: torch.Tensor, rate: float) -> torch.Tensor:
    """Drop elements of (T, inputs) by the counter hash of `dropout.py`."""
    # int64, masked to 32 bits: torch multiplies no uint32.
    mask = 0xFFFFFFFF
    counter = torch.arange(x.numel(), device=x.device, dtype=torch.int64) & mask
    bits = counter ^ key
    for multiplier, shift in MULTIPLIERS:
        bits = bits ^ (bits >> shift)
        bits = (bits * multiplier) & mask if multiplier else bits
    kept = (bits >= threshold(rate)).view_as(x)
    return torch.where(kept, x / (1 - rate), torch.zeros((), dtype=x.dtype, device=x.device))
