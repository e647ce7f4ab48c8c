"""Decoder blocks over a cache of keys and values on JAX: pure functions of arrays.

A cache holds, for each block, keys and values of (B · key-value heads, S, h), a row's heads
beside each other: with rows and heads as one axis, XLA writes and reads it where it lies. As
two axes, of which one may be 1, it made four copies of the cache a step (on a CPU, JAX
0.10). The slots are those of the prompts and then those of the answers:

    0 … P − 1           the prompts without their last tokens
    P, P + 1, …         the last token of each prompt, then the tokens after it

So a step writes one slot for all rows, though each row has a position of its own: slot
P + t of a row with n tokens before its answers is position n + t. Below P a slot is its
position, less the row's shift; slots of no position are never seen. A block whose window
is shorter than the prompts keeps only as much of them: P is its window, and the shift is
n − P.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kerasft.engine.jax_attention import attend
from kerasft.engine.jax_block import (
    BlockPlan,
    attention_inputs,
    attention_output,
    feed_forward,
)

Cache = tuple[tuple[jax.Array, jax.Array], ...]
"""Keys and values of each block."""

_HIDDEN = -1e30
"""A logit that no softmax gives weight to; finite, so that nothing becomes NaN."""

_NO_DROPOUT = np.uint32(0)


def empty_cache(sizes: Sequence[int], rows: int, heads: int, width: int, dtype: Any) -> Cache:
    """Zeros for blocks of so many slots; each buffer is its own, so that each can be donated."""
    shapes = [(rows * heads, slots, width) for slots in sizes]
    return tuple((jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for shape in shapes)


def visible_slots(
    slots: int,
    first: jax.Array,
    step: jax.Array,
    before: jax.Array,
    shift: jax.Array,
    window: int | None,
) -> jax.Array:
    """Which slots the token in slot P + step sees, itself included.

    Args:
        slots: S.
        first: P, int32 scalar.
        step: int32 scalar.
        before: (B,) int32, the tokens of each row before its answers.
        shift: (B,) int32, of the slots below P.
        window: tokens that are seen, or None for all.

    Returns:
        bool (B, S).
    """
    at, before = jnp.arange(slots), before[:, None]
    positions = jnp.where(at < first, at + shift[:, None], before + at - first)
    seen = jnp.where(at < first, (positions >= 0) & (positions < before), at <= first + step)
    if window is None:
        return seen
    return seen & (before + step - positions < window)


def filling_block(
    plan: BlockPlan,
    shape: tuple[int, int],
    hidden: jax.Array,
    arrays: Mapping[str, Any],
    rotary: tuple[jax.Array, jax.Array],
    segment_ids: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A block over whole prompts, several to a row.

    Args:
        plan, arrays: see `jax_block.decoder_block`.
        shape: (B, L).
        hidden: (B·L, width).
        rotary: cosine and sine, (B·L, 1, h / 2) each.
        segment_ids: int32 (B, L).

    Returns:
        Hidden states (B·L, width), keys and values (B·L, key-value heads, h).
    """
    arch = plan.architecture
    heads = attention_inputs(plan, hidden, arrays, rotary, _NO_DROPOUT)
    attended = attend(
        *(each.reshape(*shape, *each.shape[1:]) for each in heads),
        segment_ids,
        scale=arch.query_scale,
        soft_cap=arch.attention_soft_cap,
        window=arch.window_of(plan.kind),
    )
    attended = attended.reshape(hidden.shape[0], -1)
    hidden = attention_output(plan, hidden, attended, arrays, _NO_DROPOUT)
    hidden = feed_forward(plan, hidden, arrays, _NO_DROPOUT, jnp.uint32(0))
    return hidden, heads[1], heads[2]


def stepping_block(
    plan: BlockPlan,
    hidden: jax.Array,
    arrays: Mapping[str, Any],
    rotary: tuple[jax.Array, jax.Array],
    keys: jax.Array,
    values: jax.Array,
    slot: jax.Array,
    seen: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A block over one token a row.

    Args:
        plan, arrays: see `jax_block.decoder_block`.
        hidden: (B, width).
        rotary: cosine and sine, (B, 1, h / 2) each.
        keys, values: (B · key-value heads, S, h).
        slot: where the token's go, int32 scalar.
        seen: bool (B, S).

    Returns:
        Hidden states (B, width), and keys and values with the token's in them.
    """
    arch = plan.architecture
    query, key, value = attention_inputs(plan, hidden, arrays, rotary, _NO_DROPOUT)
    width = arch.head_width
    keys = jax.lax.dynamic_update_slice(keys, key.reshape(-1, 1, width), (0, slot, 0))
    values = jax.lax.dynamic_update_slice(values, value.reshape(-1, 1, width), (0, slot, 0))
    attended = attend_slots(query, keys, values, seen, arch.query_scale, arch.attention_soft_cap)
    hidden = attention_output(plan, hidden, attended, arrays, _NO_DROPOUT)
    return feed_forward(plan, hidden, arrays, _NO_DROPOUT, jnp.uint32(0)), keys, values


def attend_slots(
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    seen: jax.Array,
    scale: float,
    soft_cap: float | None,
) -> jax.Array:
    """Attention of one query a row and head, with logits and softmax in float32.

    Args:
        query: (B, heads, h).
        keys, values: (B · key-value heads, S, h).
        seen: bool (B, S).
        scale: of the products.
        soft_cap: c of c·tanh(x / c) on the scaled products, or None.

    Returns:
        (B, heads · h), in the type of `query`.
    """
    rows, heads, width = query.shape
    groups = len(keys) // rows
    query = (query * np.asarray(scale, query.dtype)).reshape(len(keys), -1, width)
    logits = jnp.einsum("ngh,nsh->ngs", query, keys, preferred_element_type=jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    seen = jnp.repeat(seen, groups, axis=0)[:, None]
    weights = jax.nn.softmax(jnp.where(seen, logits, _HIDDEN), axis=-1)
    result = jnp.einsum(
        "ngs,nsh->ngh",
        weights.astype(values.dtype),
        values,
        preferred_element_type=jnp.float32,
    )
    return result.astype(query.dtype).reshape(rows, heads * width)


def stored(cache: jax.Array, entries: jax.Array, rows: jax.Array, slots: jax.Array) -> jax.Array:
    """A cache (B · heads, S, h) with entries (T, heads, h) in their rows and slots, (T,) int32.

    Slots below 0 are left out.
    """
    tokens, heads, width = entries.shape
    rows = (rows[:, None] * heads + jnp.arange(heads)).reshape(-1)
    # What is left out has a place of its own outside: each is there once.
    outside = cache.shape[1] + jnp.arange(tokens)
    slots = jnp.repeat(jnp.where(slots < 0, outside, slots), heads)
    entries = entries.reshape(-1, width)
    return cache.at[rows, slots].set(entries, mode="drop", unique_indices=True)
