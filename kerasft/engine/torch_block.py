"""The decoder of an `Architecture` on torch: pure functions of tensors.

Rows of a micro-batch are laid out as one line of T = B·L tokens. A block is one function
of the residual stream and of its own weights, so that one compiled function serves every
block of its kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from kerasft.engine.dropout import MULTIPLIERS, threshold
from kerasft.engine.torch_float8 import BackwardMatrix, Float8Matrix
from kerasft.engine.torch_gate import gated
from kerasft.engine.torch_int8 import Int8Matrix
from kerasft.engine.torch_product import Multiplier
from kerasft.models.architecture import Architecture, Block, Projection

Tensors = Mapping[str, torch.Tensor]
Matrix = torch.Tensor | Float8Matrix | BackwardMatrix | Int8Matrix
Frozen = Mapping[str, Matrix]


GROUPS = {
    "attention": ("query", "key", "value"),
    "output": ("output",),
    "gate": ("gate",),
    "up": ("up",),
    "down": ("down",),
}
"""Projections of one input: computed as one product."""


@dataclass(frozen=True)
class Adapter:
    """How an adapter lies beside its kernel.

    Attributes:
        target: whose it is.
        offset, outputs: its columns in the group's output.
        outputs_of_group: all of them.
        a_axes: A's axes, those of the input first; None where A is (inputs, rank).
        heads: that share one B.
        scale: alpha / rank.
        dropout: on its input while training.
    """

    target: str
    offset: int
    outputs: int
    outputs_of_group: int
    a_axes: tuple[int, ...] | None
    heads: int
    scale: float
    dropout: float


@dataclass(frozen=True)
class BlockPlan:
    """All that is fixed when a block is compiled.

    Attributes:
        architecture: sizes, norms, activation.
        kind: `local` or `global`.
        adapters: those that act, by group.
        tiles: into which the tokens are cut for the feed-forward layers.
        multiplier: how matrices are multiplied.
    """

    architecture: Architecture
    kind: str
    adapters: Mapping[str, tuple[Adapter, ...]]
    tiles: int
    multiplier: Multiplier


def plan_block(
    architecture: Architecture,
    block: Block,
    *,
    training: bool,
    tiles: int,
    multiplier: Multiplier,
) -> BlockPlan:
    """What `block` is, without its variables; `training` lets dropout act."""
    adapters = {}
    for group, targets in GROUPS.items():
        found, offset = [], 0
        whole = sum(block.projections[target].outputs for target in targets)
        for target in targets:
            projection = block.projections[target]
            layer = projection.lora
            if layer is not None and layer.active:
                keras_layout = layer.layout == "keras"
                found.append(
                    Adapter(
                        target=target,
                        offset=offset,
                        outputs=projection.outputs,
                        outputs_of_group=whole,
                        a_axes=projection.a_axes if keras_layout else None,
                        heads=projection.outputs // layer.b.shape[1],
                        scale=layer.scale,
                        dropout=layer.dropout if training else 0.0,
                    )
                )
            offset += projection.outputs
        adapters[group] = tuple(found)
    return BlockPlan(architecture, block.kind, adapters, tiles, multiplier)


def lay_out(block: Block) -> dict[str, torch.Tensor]:
    """The frozen tensors of a block: one (inputs, outputs) matrix a group, and the norms.

    Kernels of a group are laid side by side, and the variables become views of the
    result, so nothing is kept twice.
    """
    tensors = {name: scale.value for name, scale in block.norms.items()}
    for group, targets in GROUPS.items():
        projections = [block.projections[target] for target in targets]
        matrices = [_matrix(projection) for projection in projections]
        laid = _joined_already(projections, matrices)
        if laid is not None:
            tensors[group] = laid
            continue
        joined = torch.cat(matrices, dim=1) if len(matrices) > 1 else matrices[0].contiguous()
        _view(projections, joined)
        tensors[group] = joined
    return tensors


def move(block: Block, device: torch.device) -> None:
    """Take the kernels of a block, as `lay_out` laid them, to another device."""
    laid = lay_out(block)
    for group, targets in GROUPS.items():
        _view([block.projections[target] for target in targets], laid[group].to(device))


def _view(projections: Sequence[Projection], joined: torch.Tensor) -> None:
    """Make the kernels of a group views of their matrix (inputs, outputs of all)."""
    offset = 0
    for projection in projections:
        part = joined[:, offset : offset + projection.outputs]
        offset += projection.outputs
        outputs_first = part.t().unflatten(0, projection.output_shape)
        unfolded = outputs_first.unflatten(-1, projection.input_shape)
        projection.kernel.value.data = unfolded.permute(projection.kernel_axes)


def _matrix(projection: Projection) -> torch.Tensor:
    """A kernel as (inputs, outputs)."""
    kernel = projection.kernel.value.detach()
    count = len(projection.output_shape)
    axes = projection.axes[count:] + projection.axes[:count]
    return kernel.permute(axes).reshape(projection.inputs, projection.outputs)


def _joined_already(
    projections: Sequence[Projection], matrices: Sequence[torch.Tensor]
) -> torch.Tensor | None:
    """The matrix that holds these side by side, where the variables are views of one.

    So training, scoring and decoding share what the first of them laid out.
    """
    columns = sum(matrix.shape[1] for matrix in matrices)
    address = matrices[0].data_ptr()
    storages = {projection.kernel.value.untyped_storage().data_ptr() for projection in projections}
    for matrix in matrices:
        storages.add(matrix.untyped_storage().data_ptr())
        if matrix.stride() != (columns, 1) or matrix.data_ptr() != address or len(storages) > 1:
            return None
        address += matrix.shape[1] * matrix.element_size()
    return matrices[0].as_strided((len(matrices[0]), columns), (columns, 1))


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
    frozen: Frozen,
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
    heads, groups, width = arch.query_heads, arch.key_value_heads, arch.head_width

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return rms_norm(x, frozen[name], arch)

    def linear(x: torch.Tensor, group: str, first: int = 0) -> torch.Tensor:
        return _linear(x, frozen[group], plan, plan.adapters[group], adapters, keys, first)

    x = linear(norm(hidden, "pre_attention_norm"), "attention")
    # A copy: a view would keep all of x for the backward pass.
    value = x[:, (heads + groups) * width :].contiguous().unflatten(1, (groups, width))
    turning = x[:, : (heads + groups) * width].unflatten(1, (heads + groups, width))
    if arch.query_key_norm:
        scales = (frozen["query_norm"].expand(heads, -1), frozen["key_norm"].expand(groups, -1))
        turning = rms_norm(turning, torch.cat(scales), arch)
    turning = _rotate(turning, rotary)
    seen = attention(turning[:, :heads], turning[:, heads:], value, rows)
    x = linear(seen.flatten(1), "output")
    if arch.post_attention_norm:
        x = norm(x, "post_attention_norm")
    hidden = hidden + x
    tiles = norm(hidden, "pre_ffw_norm").chunk(plan.tiles)
    size = len(tiles[0])
    keeps_float8 = isinstance(frozen["gate"], BackwardMatrix)
    x = torch.cat(
        [_feed_forward(x, arch, linear, i * size, keeps_float8) for i, x in enumerate(tiles)]
    )
    if arch.post_ffw_norm:
        x = norm(x, "post_ffw_norm")
    return hidden + x


def _feed_forward(
    x: torch.Tensor,
    arch: Architecture,
    linear: Callable[..., torch.Tensor],
    first: int,
    keeps_float8: bool,
) -> torch.Tensor:
    """The gated layers of some of the tokens, the first of which is token `first`."""
    # Not one product: its gradient would have to be put together from two halves.
    gate, up = linear(x, "gate", first), linear(x, "up", first)
    if keeps_float8:
        x = torch.ops.kerasft.gated_kept_in_float8.default(gate, up, arch.activation)[0]
    else:
        x = gated(gate, up, arch.activation)
    return linear(x, "down", first)


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
    matrix: Matrix,
    plan: BlockPlan,
    adapters: tuple[Adapter, ...],
    tensors: Tensors,
    keys: Tensors,
    first: int,
) -> torch.Tensor:
    """x · W, plus scale · (x · A) · B of each adapter, in the type of x.

    The adapters of a group are one product too: their A side by side, their B on the
    diagonal of a (ranks, outputs) matrix.
    """
    multiplier = plan.multiplier
    if isinstance(matrix, Float8Matrix):
        y = torch.ops.kerasft.float8_product.default(x, *matrix)
    elif isinstance(matrix, BackwardMatrix):
        y = torch.ops.kerasft.float8_backward_product.default(x, *matrix)
    elif isinstance(matrix, Int8Matrix):
        y = torch.ops.kerasft.int8_backward_product.default(x, *matrix)
    else:
        y = multiplier.product(x, matrix)
    if not adapters:
        return y
    a, b = adapter_matrices(adapters, tensors, x.dtype)
    if any(adapter.dropout for adapter in adapters):
        # Each adapter has an input of its own then.
        low = [
            multiplier.trained(_dropout(x, keys[adapter.target], adapter.dropout, first), part)
            for adapter, part in zip(adapters, a, strict=True)
        ]
        return multiplier.added(y, torch.cat(low, dim=1), b)
    return multiplier.added(y, multiplier.trained(x, torch.cat(a, dim=1)), b)


def adapter_matrices(
    adapters: Sequence[Adapter], tensors: Tensors, dtype: torch.dtype
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A of each adapter of a group, (inputs, ranks of it), and their B as one matrix.

    B is (ranks of all, outputs of the group), multiplied by the scales.
    """
    a = [_a_matrix(adapter, tensors).to(dtype) for adapter in adapters]
    return a, torch.cat([_b_matrix(adapter, tensors) for adapter in adapters]).to(dtype)


def _a_matrix(adapter: Adapter, tensors: Tensors) -> torch.Tensor:
    """A as (inputs, heads · rank)."""
    a = tensors[f"{adapter.target}/a"]
    if adapter.a_axes is None:
        return a
    a = a.permute(adapter.a_axes)
    return a.reshape(-1, adapter.heads * a.shape[-1])


def _b_matrix(adapter: Adapter, tensors: Tensors) -> torch.Tensor:
    """scale · B as (heads · rank, outputs of the group), zero outside its own columns."""
    b = tensors[f"{adapter.target}/b"] * adapter.scale
    if adapter.heads > 1:
        b = torch.block_diag(*[b] * adapter.heads)
    after = adapter.outputs_of_group - adapter.offset - adapter.outputs
    return F.pad(b, (adapter.offset, after))


def _dropout(x: torch.Tensor, key: torch.Tensor, rate: float, first: int) -> torch.Tensor:
    """Drop elements of (T, inputs), rows counted from `first`, by the hash of `dropout.py`."""
    # int64, masked to 32 bits: torch multiplies no uint32.
    mask = 0xFFFFFFFF
    start = first * x.shape[1]
    counter = torch.arange(start, start + x.numel(), device=x.device, dtype=torch.int64) & mask
    bits = counter ^ key
    for multiplier, shift in MULTIPLIERS:
        bits = bits ^ (bits >> shift)
        bits = (bits * multiplier) & mask if multiplier else bits
    kept = (bits >= threshold(rate)).view_as(x)
    return torch.where(kept, x / (1 - rate), torch.zeros((), dtype=x.dtype, device=x.device))
