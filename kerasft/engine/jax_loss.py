"""The fused linear cross-entropy of `loss.py`, on JAX."""

from functools import partial

import jax
import jax.numpy as jnp

from kerasft.engine.loss import chunk_count


def fused_linear_cross_entropy(
    hidden: jax.Array,
    embedding: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    soft_cap: float | None,
    largest_chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of the token losses, and of the tokens that were right.

    Shapes, types and meaning as `torch_loss.fused_linear_cross_entropy`.
    """
    return _fused(soft_cap, largest_chunk, hidden, embedding, targets, weights)


@jax.custom_vjp
def supervised_rows(hidden: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """The rows of `hidden` (T, width) at `indices` (P,): (P, width).

    An index whose weight is not 0 comes once, so that the gradient is a gather too and
    not a sum of P rows at contended places. The others only pad and get none.
    """
    return hidden[indices]


def _rows_forward(hidden, indices, weights):
    return hidden[indices], (indices, weights, hidden.shape[0])


def _rows_backward(kept, gradient):
    indices, weights, tokens = kept
    count = indices.shape[0]
    order = jnp.arange(count, dtype=jnp.int32)
    # Each place once, also beyond the end: XLA's deterministic form of a scatter that may
    # meet a place twice ends in an IndexError on a GPU (jaxlib 0.11).
    places = jnp.where(weights > 0, indices, tokens + order)
    source = jnp.full(tokens, count, jnp.int32)
    source = source.at[places].set(order, mode="drop", unique_indices=True)
    return jnp.take(gradient, source, axis=0, mode="fill", fill_value=0), None, None


supervised_rows.defvjp(_rows_forward, _rows_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused(soft_cap, largest, hidden, embedding, targets, weights):
    loss, correct, _ = _chunks(soft_cap, largest, False, hidden, embedding, targets, weights)
    return loss, correct


def _forward(soft_cap, largest, hidden, embedding, targets, weights):
    loss, correct, gradient = _chunks(soft_cap, largest, True, hidden, embedding, targets, weights)
    return (loss, correct), gradient


def _backward(soft_cap, largest, gradient, cotangents):
    return gradient * cotangents[0].astype(gradient.dtype), None, None, None


_fused.defvjp(_forward, _backward)


def _chunks(soft_cap, largest, keep_gradient, hidden, embedding, targets, weights):
    count = chunk_count(hidden.shape[0], largest)

    def supervised(rows):
        states, target, weight = rows
        # (words, tokens), contracted over both widths: neither matrix is transposed here or
        # in the gradient's product, which CPUs do at half the speed the other way round.
        logits = jax.lax.dot_general(embedding, states, (((1,), (1,)), ((), ())))
        logits = logits.astype(jnp.float32)
        if soft_cap:
            logits = soft_cap * jnp.tanh(logits / soft_cap)
        largest_logit = logits.max(axis=0)
        norm = largest_logit + jnp.log(jnp.sum(jnp.exp(logits - largest_logit), axis=0))
        at_target = jnp.take_along_axis(logits, target[None], axis=0)[0]
        loss = jnp.sum(weight * (norm - at_target))
        # No argmax, which would be a pass of its own, and the slowest one.
        correct = jnp.sum((at_target == largest_logit) * weight)
        if not keep_gradient:
            return loss, correct, jnp.zeros_like(states)
        slope = jnp.exp(logits - norm)
        slope = slope - jax.nn.one_hot(target, logits.shape[0], dtype=slope.dtype, axis=0)
        if soft_cap:
            slope = slope * (1 - jnp.square(logits / soft_cap))
        slope = (slope * weight).astype(embedding.dtype)
        gradient = jax.lax.dot_general(slope, embedding, (((0,), (0,)), ((), ())))
        return loss, correct, gradient.astype(states.dtype)

    def padding(rows):
        zero = jnp.zeros((), jnp.float32)
        return zero, zero, jnp.zeros_like(rows[0])

    def chunk(sums, rows):
        # The positions of a window are padded to a few sizes; chunks of padding cost nothing.
        if count == 1:
            loss, correct, gradient = supervised(rows)
        else:
            loss, correct, gradient = jax.lax.cond(jnp.any(rows[2] > 0), supervised, padding, rows)
        return (sums[0] + loss, sums[1] + correct), gradient if keep_gradient else None

    rows = (
        hidden.reshape(count, -1, hidden.shape[1]),
        targets.reshape(count, -1),
        weights.reshape(count, -1),
    )
    zero = jnp.zeros((), jnp.float32)
    (loss, correct), gradient = jax.lax.scan(chunk, (zero, zero), rows)
    return loss, correct, gradient.reshape(hidden.shape) if keep_gradient else None
