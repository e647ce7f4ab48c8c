"""The decoder of an `Architecture` on JAX: pure functions of arrays.

Tokens of a micro-batch lie in one line of T = B·L; only attention sees rows. A block is
one function of the residual stream and of its own arrays, traced once for all blocks of
its kind.

What a block keeps for its backward pass is named (`KEPT`): outputs of matrix products in
the compute type. Everything between them, norms, rotary embedding, gate and softmax, is
computed again from those, so that no float32 copy of it is stored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from kerasft.engine.dropout import MULTIPLIERS, threshold
from kerasft.engine.jax_attention import attend
from kerasft.engine.jax_float8 import (
    SCALES,
    BackwardMatrix,
    Float8Matrix,
    float8_product,
    gated,
    gated_kept_in_float8,
    with_float8_gradient,
)
from kerasft.models.architecture import Architecture, Block

KEPT = ("query", "key", "value", "attended", "output", "gate", "up", "down", "low", SCALES)
"""Names of the values that a block keeps without rematerialisation."""

TILE_BYTES = 2**26
"""With rematerialisation, the gate of a feed-forward layer is at most this large at once."""


@dataclass(frozen=True)
class Adapter:
    """How an adapter lies beside its kernel.

    Attributes:
        a_axes: A's axes, those of the input first; None where A is (inputs, rank).
        scale: alpha / rank.
        dropout: rate on its input; 0 outside of training.
    """

    a_axes: tuple[int, ...] | None
    scale: float
    dropout: float


@dataclass(frozen=True)
class Linear:
    """A projection without its arrays: see `models.architecture.Projection`.

    Attributes:
        input_axes: of the kernel, which are summed over; the rest are the output's.
        input_sizes: of those axes.
        outputs: size of the output.
        adapter: beside it, or None.
    """

    input_axes: tuple[int, ...]
    input_sizes: tuple[int, ...]
    outputs: int
    adapter: Adapter | None

    @property
    def inputs(self) -> int:
        return math.prod(self.input_sizes)


@dataclass(frozen=True)
class BlockPlan:
    """What is fixed of a block when it is traced; equal for blocks of one kind.

    Attributes:
        architecture: sizes, norms, activation.
        kind: `local` or `global`.
        linears: (target, projection) of each.
    """

    architecture: Architecture
    kind: str
    linears: tuple[tuple[str, Linear], ...]

    def linear(self, target: str) -> Linear:
        return dict(self.linears)[target]


def plan_block(architecture: Architecture, block: Block, training: bool) -> BlockPlan:
    """What `block` is, without its variables."""
    linears = []
    for target, projection in block.projections.items():
        layer, adapter = projection.lora, None
        if layer is not None and layer.active:
            axes = projection.a_axes if layer.layout == "keras" else None
            adapter = Adapter(axes, layer.scale, layer.dropout if training else 0.0)
        shape = projection.kernel.shape
        # A's axes begin with those of the input, which are as many as make up its size.
        axes, sizes = projection.a_axes, [shape[axis] for axis in projection.a_axes]
        count = next(n for n in range(1, len(axes)) if math.prod(sizes[:n]) == projection.inputs)
        axes, sizes = axes[:count], tuple(sizes[:count])
        linears.append((target, Linear(axes, sizes, projection.outputs, adapter)))
    return BlockPlan(architecture, block.kind, tuple(linears))


def embedded(architecture: Architecture, token_ids: jax.Array, embedding: jax.Array) -> jax.Array:
    """The residual stream before the first block, (T, width), in the type of `embedding`."""
    hidden = jnp.take(embedding, token_ids.reshape(-1), axis=0)
    if architecture.embedding_scale is None:
        return hidden
    # The factor is rounded to the compute type first, as the models were trained.
    return hidden * jnp.asarray(architecture.embedding_scale, hidden.dtype)


def rotary_angles(
    architecture: Architecture, position_ids: jax.Array, dtype: Any
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Cosine and sine of the rotary embedding by kind of block, (T, 1, h / 2) each."""
    positions = position_ids.reshape(-1, 1).astype(jnp.float32)
    angles = {
        kind: positions * jnp.asarray(architecture.inverse_frequencies[kind])
        for kind in set(architecture.kinds)
    }
    return {
        kind: (jnp.cos(angle)[:, None].astype(dtype), jnp.sin(angle)[:, None].astype(dtype))
        for kind, angle in angles.items()
    }


def decoder_block(
    plan: BlockPlan,
    rows_shape: tuple[int, int],
    tile: int,
    hidden: jax.Array,
    arrays: Mapping[str, Any],
    rotary: tuple[jax.Array, jax.Array],
    segment_ids: jax.Array | None,
    seed: jax.Array,
) -> jax.Array:
    """One pre-norm decoder block.

    Args:
        plan: what the block is.
        rows_shape: (B, L).
        tile: tokens of the feed-forward layer at once; T for all.
        hidden: (T, width), the residual stream.
        arrays: `kernels`, which may be in float8, and `adapters` (A, B) by target, `norms` by
            name, `path_seeds` (uint32 scalars) by target.
        rotary: cosine and sine, (T, 1, h / 2) each.
        segment_ids: int32 (B, L), or None.
        seed: uint32 scalar of the micro-batch's dropout.

    Returns:
        (T, width).
    """
    arch, tokens = plan.architecture, hidden.shape[0]
    heads = attention_inputs(plan, hidden, arrays, rotary, seed)
    attended = attend(
        *(each.reshape(*rows_shape, *each.shape[1:]) for each in heads),
        segment_ids,
        scale=arch.query_scale,
        soft_cap=arch.attention_soft_cap,
        window=arch.window_of(plan.kind),
    )
    attended = checkpoint_name(attended.reshape(tokens, -1), "attended")
    hidden = attention_output(plan, hidden, attended, arrays, seed)
    if tile >= tokens:
        return feed_forward(plan, hidden, arrays, seed, jnp.uint32(0))

    def one(_: None, rows: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        part, first = rows
        return None, feed_forward(plan, part, arrays, seed, first)

    tiles = hidden.reshape(-1, tile, hidden.shape[1])
    firsts = jnp.arange(0, tokens, tile, dtype=jnp.uint32)
    return jax.lax.scan(jax.checkpoint(one), None, (tiles, firsts))[1].reshape(hidden.shape)


def tile_tokens(tokens: int, feed_forward: int, itemsize: int) -> int:
    """Tokens whose gate fits `TILE_BYTES`: the largest divisor of `tokens` that does."""
    most = max(1, TILE_BYTES // (feed_forward * itemsize))
    return max(size for size in range(1, min(tokens, most) + 1) if tokens % size == 0)


def attention_inputs(
    plan: BlockPlan,
    hidden: jax.Array,
    arrays: Mapping[str, Any],
    rotary: tuple[jax.Array, jax.Array],
    seed: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries (T, heads, h), keys and values (T, key-value heads, h); arguments as above."""
    arch = plan.architecture

    def heads(x: jax.Array, target: str, count: int) -> jax.Array:
        x = _linear(plan, target, x, arrays, seed, jnp.uint32(0))
        return x.reshape(-1, count, arch.head_width)

    def rotated(x: jax.Array, name: str) -> jax.Array:
        if not arch.query_key_norm:
            return checkpoint_name(_rotate(x, *rotary), name)
        # The norm's backward pass needs what it normalised; the angles cost little.
        x = checkpoint_name(x, name)
        return _rotate(rms_norm(arch, x, arrays["norms"][f"{name}_norm"]), *rotary)

    x = rms_norm(arch, hidden, arrays["norms"]["pre_attention_norm"])
    query = rotated(heads(x, "query", arch.query_heads), "query")
    key = rotated(heads(x, "key", arch.key_value_heads), "key")
    return query, key, checkpoint_name(heads(x, "value", arch.key_value_heads), "value")


def attention_output(
    plan: BlockPlan,
    hidden: jax.Array,
    attended: jax.Array,
    arrays: Mapping[str, Any],
    seed: jax.Array,
) -> jax.Array:
    """The residual stream (T, width) after the attention layer; `attended` is (T, heads · h)."""
    arch = plan.architecture
    x = _linear(plan, "output", attended, arrays, seed, jnp.uint32(0))
    if arch.post_attention_norm:
        x = checkpoint_name(x, "output")
        return hidden + rms_norm(arch, x, arrays["norms"]["post_attention_norm"])
    return checkpoint_name(hidden + x, "output")


def feed_forward(
    plan: BlockPlan,
    hidden: jax.Array,
    arrays: Mapping[str, Any],
    seed: jax.Array,
    first_row: jax.Array,
) -> jax.Array:
    """The residual stream after the feed-forward layer.

    `first_row` is where these tokens begin among those that dropout counts.
    """
    arch = plan.architecture
    x = rms_norm(arch, hidden, arrays["norms"]["pre_ffw_norm"])
    gate = _linear(plan, "gate", x, arrays, seed, first_row, kept="gate")
    up = _linear(plan, "up", x, arrays, seed, first_row, kept="up")
    keeps_float8 = isinstance(arrays["kernels"]["gate"], BackwardMatrix)
    x = (gated_kept_in_float8 if keeps_float8 else gated)(arch.activation, gate, up)
    x = _linear(plan, "down", x, arrays, seed, first_row)
    if arch.post_ffw_norm:
        x = checkpoint_name(x, "down")
        x = rms_norm(arch, x, arrays["norms"]["post_ffw_norm"])
    return hidden + x


def _linear(plan, target, x, arrays, seed, first_row, kept=None):
    """x (T, inputs) through a projection and the adapter beside it: (T, outputs).

    `kept` names the result for the backward pass.
    """
    linear = plan.linear(target)
    adapter, kernel = linear.adapter, arrays["kernels"][target]
    if isinstance(kernel, Float8Matrix):
        if adapter is None:
            return float8_product(kept, x, kernel)
        result = float8_product(None, x, kernel)
    elif isinstance(kernel, BackwardMatrix):
        result = _product(linear, jax.lax.stop_gradient(x), kernel.kernel)
        result = with_float8_gradient(x, result, kernel.backward, kernel.backward_scales)
    else:
        result = _product(linear, x, kernel)
    if adapter is not None:
        a, b = arrays["adapters"][target]
        scale = adapter.scale
        if adapter.dropout:
            remains = _kept(
                x.shape, first_row, seed ^ arrays["path_seeds"][target], adapter.dropout
            )
            x = jnp.where(remains, x, jnp.zeros((), x.dtype))
            scale /= 1 - adapter.dropout
        a, b = factors(linear, a, scale * b, x.dtype)
        low = checkpoint_name(x @ a, "low")
        low = low.reshape(x.shape[0], -1, b.shape[0])
        result = result + (low @ b).reshape(result.shape)
    return result if kept is None else checkpoint_name(result, kept)


def _product(linear: Linear, x: jax.Array, kernel: jax.Array) -> jax.Array:
    # Contracted where its axes lie: a transposed kernel would be a copy of it.
    summed = (tuple(range(1, 1 + len(linear.input_axes))), linear.input_axes)
    wide = x.reshape(-1, *linear.input_sizes)
    result = jax.lax.dot_general(wide, kernel.astype(x.dtype), (summed, ((), ())))
    return result.reshape(-1, linear.outputs)


def factors(linear: Linear, a: jax.Array, b: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """An adapter's A as a matrix (inputs, groups · rank), and B, rounded to `dtype`.

    The masters are float32: what multiplies B is to be in it before.
    """
    axes = linear.adapter.a_axes if linear.adapter else None
    if axes is not None:
        a = a.transpose(axes).reshape(linear.inputs, -1)
    return a.astype(dtype), b.astype(dtype)


def _kept(shape: tuple[int, int], first_row: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """Which elements of an adapter's input stay: see `engine.dropout`."""
    row = jax.lax.broadcasted_iota(jnp.uint32, shape, 0) + first_row
    column = jax.lax.broadcasted_iota(jnp.uint32, shape, 1)
    bits = _mix((row * np.uint32(shape[1]) + column) ^ _mix(key))
    return bits >= np.uint32(threshold(rate))


def _mix(value: jax.Array) -> jax.Array:
    for multiplier, shift in MULTIPLIERS:
        value = value ^ (value >> np.uint32(shift))
        if multiplier:
            value = value * np.uint32(multiplier)
    return value


def _rotate(x: jax.Array, cosine: jax.Array, sine: jax.Array) -> jax.Array:
    """Rotary embedding of (T, heads, h) by halves of a head."""
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def rms_norm(architecture: Architecture, x: jax.Array, scale: jax.Array) -> jax.Array:
    """x / √(mean x² + ε) · (offset + scale), in float32, over the last axis."""
    wide = x.astype(jnp.float32)
    mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    factor = jax.lax.rsqrt(mean + architecture.norm_epsilon)
    scale = scale.astype(jnp.float32) + architecture.norm_offset
    return (wide * factor * scale).astype(x.dtype)
