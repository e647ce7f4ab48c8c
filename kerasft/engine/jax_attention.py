"""Attention of packed rows on JAX: cuDNN's flash attention, or plain products.

A token sees the tokens of its own segment in its own row, at or before it; in a local
block only the last `window` of them, itself included.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from kerasft.determinism import xla_is_deterministic

_HIDDEN = -1e30
"""A logit that no softmax gives weight to; finite, so that nothing becomes NaN."""


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array | None,
    *,
    scale: float,
    soft_cap: float | None,
    window: int | None,
) -> jax.Array:
    """Causal attention within segments.

    Args:
        query: (B, L, heads, h).
        key, value: (B, L, key-value heads, h).
        segment_ids: int32 (B, L); None where every row is one segment with padding after
            it, which causality alone keeps apart.
        scale: of the products.
        soft_cap: c of c·tanh(x / c) on the scaled products, or None.
        window: tokens that are seen, itself included, or None for all.

    Returns:
        (B, L, heads, h), in the type of `query`.
    """
    if window is not None and window >= query.shape[1]:
        window = None
    if not soft_cap and uses_cudnn(query.shape[-1], str(query.dtype)):
        return _cudnn(query, key, value, segment_ids, scale, window)
    return _plain(query, key, value, segment_ids, scale, soft_cap, window)


@cache
def uses_cudnn(head_width: int, dtype: str) -> bool:
    """Whether cuDNN's flash attention runs here, forward and backward, on such heads.

    What it supports depends on the card, on cuDNN and on JAX: it is tried on one small
    row, once a process. Its deterministic form compiles for that row, and not for a model.
    """
    if jax.default_backend() != "gpu" or dtype not in ("bfloat16", "float16"):
        return False
    if xla_is_deterministic():
        return False

    def loss(query: jax.Array, key: jax.Array, segments: jax.Array) -> jax.Array:
        return _cudnn(query, key, key, segments, 1.0, None).astype(jnp.float32).sum()

    query, key = jnp.ones((1, 64, 2, head_width), dtype), jnp.ones((1, 64, 1, head_width), dtype)
    try:
        jax.block_until_ready(jax.jit(jax.grad(loss))(query, key, jnp.ones((1, 64), jnp.int32)))
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    return True


def _cudnn(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array | None,
    scale: float,
    window: int | None,
) -> jax.Array:
    mask = None
    if segment_ids is not None:
        mask = (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        scale=scale,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )


def _plain(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array | None,
    scale: float,
    soft_cap: float | None,
    window: int | None,
) -> jax.Array:
    rows, length, heads, width = query.shape
    query = (query * np.asarray(scale, query.dtype)).reshape(rows, length, key.shape[2], -1, width)
    logits = jnp.einsum("btkgh,bskh->bkgts", query, key).astype(jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    seen = _seen(length, segment_ids, window)
    weights = jax.nn.softmax(jnp.where(seen, logits, _HIDDEN), axis=-1).astype(query.dtype)
    result = jnp.einsum("bkgts,bskh->btkgh", weights, value)
    return result.reshape(rows, length, heads, width)


def _seen(length: int, segment_ids: jax.Array | None, window: int | None) -> jax.Array:
    """Which key (last axis) each query sees; broadcasts to (B, heads, groups, L, L)."""
    distance = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
    seen = distance >= 0
    if window is not None:
        seen &= distance < window
    if segment_ids is None:
        return seen
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (seen & same)[:, None, None]
