"""The fused loss, held against Keras' own."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from kerasft.engine.loss import chunk_count, largest_chunk

pytestmark = pytest.mark.keras

TOKENS, WIDTH, WORDS = 48, 24, 67
WHOLE, EVEN, UNEVEN, SINGLE = 64, 16, 7, 1


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hidden states, embedding, targets and weights, some of them 0 and some a fraction."""
    random = np.random.default_rng(seed)
    hidden = random.standard_normal((TOKENS, WIDTH)).astype(np.float32)
    embedding = random.standard_normal((WORDS, WIDTH)).astype(np.float32)
    targets = random.integers(0, WORDS, TOKENS)
    # Some targets are the likeliest word, so that accuracy is neither 0 nor 1.
    targets[::3] = (hidden @ embedding.T).argmax(-1)[::3]
    weights = random.choice([0.0, 0.5, 1.0], TOKENS).astype(np.float32)
    return hidden, embedding, targets, weights


def differentiated(
    function: Any, hidden: np.ndarray, dtype: str, factor: float
) -> tuple[list[float], np.ndarray]:
    """Values of `function(hidden)`, and the gradient of `factor` times the first."""
    if keras.backend.backend() == "torch":
        import torch

        states = torch.tensor(hidden).to(getattr(torch, dtype)).requires_grad_()
        values = function(states)
        (factor * values[0]).backward()
        return [float(value.detach()) for value in values], states.grad.float().numpy()
    import jax
    import jax.numpy as jnp

    def scaled(states: Any) -> Any:
        values = function(states)
        return factor * values[0], values

    states = jnp.asarray(hidden, dtype)
    (_, values), gradient = jax.value_and_grad(scaled, has_aux=True)(states)
    return [float(value) for value in values], np.asarray(gradient, np.float32)


def fused(
    hidden: np.ndarray,
    embedding: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    soft_cap: float | None = None,
    largest: int = WHOLE,
    dtype: str = "float32",
    factor: float = 1.0,
) -> tuple[list[float], np.ndarray]:
    """Loss and right tokens, and the gradient of `factor` × loss by the hidden states."""
    if keras.backend.backend() == "torch":
        from kerasft.engine.torch_loss import fused_linear_cross_entropy
    else:
        from kerasft.engine.jax_loss import fused_linear_cross_entropy

    def function(states: Any) -> Any:
        return fused_linear_cross_entropy(
            states,
            keras.ops.cast(keras.ops.convert_to_tensor(embedding), dtype),
            keras.ops.convert_to_tensor(targets, dtype="int64" if _torch() else "int32"),
            keras.ops.convert_to_tensor(weights),
            soft_cap=soft_cap,
            largest_chunk=largest,
        )

    return differentiated(function, hidden, dtype, factor)


def plain(
    hidden: np.ndarray,
    embedding: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    soft_cap: float | None = None,
    factor: float = 1.0,
) -> tuple[list[float], np.ndarray]:
    """The same by Keras' loss over all the logits at once."""
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def function(states: Any) -> Any:
        ops = keras.ops
        logits = ops.matmul(states, ops.transpose(ops.convert_to_tensor(embedding)))
        if soft_cap:
            logits = soft_cap * ops.tanh(logits / soft_cap)
        right = ops.cast(ops.argmax(logits, axis=-1) == ops.convert_to_tensor(targets), "float32")
        loss = criterion(targets, logits, sample_weight=weights)
        return loss, ops.sum(right * ops.convert_to_tensor(weights))

    return differentiated(function, hidden, "float32", factor)


def _torch() -> bool:
    return keras.backend.backend() == "torch"


@pytest.mark.parametrize("target", [2, 5])
def test_a_target_that_shares_the_largest_logit_is_right(target: int) -> None:
    """bfloat16 has few numbers, so ties are common; the order of the words decides none."""
    hidden, embedding, _, _ = problem()
    embedding[:] = 0
    embedding[[2, 5]] = 1
    ones = np.ones(TOKENS, np.float32)
    (_, right), _ = fused(np.abs(hidden), embedding, np.full(TOKENS, target), ones)
    assert right == TOKENS


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("largest", [WHOLE, EVEN, UNEVEN, SINGLE])
def test_equals_the_plain_loss(largest, soft_cap):
    given = problem()
    (loss, correct), gradient = fused(*given, soft_cap=soft_cap, largest=largest, factor=0.5)
    (expected, right), by_keras = plain(*given, soft_cap=soft_cap, factor=0.5)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert correct == pytest.approx(right) and 0 < correct < given[3].sum()
    assert np.abs(by_keras).max() > 0.1
    np.testing.assert_allclose(gradient, by_keras, atol=1e-5)


def test_soft_cap_is_in_value_and_gradient():
    given = problem()
    (loss, _), gradient = fused(*given)
    (capped, _), by_cap = fused(*given, soft_cap=3.0)
    assert abs(loss - capped) > 1
    assert np.abs(gradient - by_cap).max() > 0.1


def test_tokens_without_weight_count_for_nothing():
    hidden, embedding, targets, weights = problem()
    other = hidden.copy()
    other[weights == 0] += 100
    first, gradient = fused(hidden, embedding, targets, weights, largest=EVEN)
    second, by_other = fused(other, embedding, targets, weights, largest=EVEN)
    assert first == second
    np.testing.assert_array_equal(gradient, by_other)
    assert not gradient[weights == 0].any()
    nothing, zero = fused(hidden, embedding, targets, np.zeros_like(weights))
    assert nothing == [0, 0] and not zero.any()


def test_bfloat16_is_within_its_rounding():
    """Products of 8 bits of mantissa: loss within 1 %, gradient within 2 % of its norm."""
    given = problem()
    (loss, _), gradient = fused(*given, soft_cap=30.0, dtype="bfloat16", largest=EVEN)
    (expected, _), exact = plain(*given, soft_cap=30.0)
    assert loss == pytest.approx(expected, rel=0.01)
    assert np.linalg.norm(gradient - exact) < 0.02 * np.linalg.norm(exact)


def test_large_logits_do_not_overflow():
    hidden, embedding, targets, weights = problem()
    (loss, _), gradient = fused(100 * hidden, embedding, targets, weights)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_the_embedding_gets_no_gradient():
    if not _torch():
        pytest.skip("on JAX the embedding is no argument that is differentiated")
    import torch

    from kerasft.engine.torch_loss import fused_linear_cross_entropy

    hidden, embedding, targets, weights = (torch.tensor(array) for array in problem())
    hidden.requires_grad_(), embedding.requires_grad_()
    loss, correct = fused_linear_cross_entropy(
        hidden, embedding, targets, weights, soft_cap=None, largest_chunk=EVEN
    )
    loss.backward()
    assert embedding.grad is None and not correct.requires_grad
    with torch.no_grad():
        again, _ = fused_linear_cross_entropy(
            hidden, embedding, targets, weights, soft_cap=None, largest_chunk=EVEN
        )
    assert float(again) == float(loss.detach())


def test_a_chunk_is_one_graph_for_any_number_of_rows(monkeypatch):
    """Captured whole; on a CPU its rows follow what a window supervises."""
    if not _torch():
        pytest.skip("on JAX the chunks are part of the compiled step")
    import torch

    from kerasft.engine.compiler import Compilations, compiled
    from kerasft.engine.torch_loss import chunk_sums

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    hidden, embedding, targets, weights = (torch.tensor(array) for array in problem())
    chunk, watch = compiled(chunk_sums, (0, 2, 3)), Compilations()
    for rows in (TOKENS, 16, 5, 32):
        part = hidden[:rows], embedding, targets[:rows], weights[:rows], 3.0, True
        found = watch.watch(f"{rows} rows", lambda part=part: chunk(*part))
        torch.testing.assert_close(found, chunk_sums(*part))
    assert [what for what, _ in watch.found] == [f"{TOKENS} rows"]


def test_chunks_are_equal_small_enough_and_the_fewest():
    for tokens in range(1, 130):
        for largest in (1, 2, 7, 16, 64, 200):
            count = chunk_count(tokens, largest)
            fitting = [
                n for n in range(1, tokens + 1) if tokens % n == 0 and tokens // n <= largest
            ]
            assert count == fitting[0]


def test_chunk_follows_the_memory_that_is_given():
    assert largest_chunk(262_144, 2**27) == 128
    assert largest_chunk(262_144, 1) == 16
