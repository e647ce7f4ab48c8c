"""Losses of completions, held against the logits of Keras and of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.data.examples import Example
from kerasft.engine import perplexity as module
from kerasft.engine.perplexity import CompletionLosses, batches
from kerasft.models.families import FAMILIES
from tests.engine.tuning import small_model, uneven_examples, with_lora
from tests.tiny import VOCABULARY, keras_logits

pytestmark = pytest.mark.keras

SEVERAL_CHUNKS = 4 * VOCABULARY * 16


def losses_on(causal_lm: Any, family: str, lora: Any = None) -> CompletionLosses:
    backbone = causal_lm.backbone
    return CompletionLosses(backbone, FAMILIES[family], lora, chunk_bytes=SEVERAL_CHUNKS)


def nats_of(logits: np.ndarray, example: Example) -> float:
    """Summed loss from logits (≥ length, vocabulary) of all positions of an example."""
    wide = logits.astype(np.float64)
    top = wide.max(-1, keepdims=True)
    log_probability = wide - top - np.log(np.exp(wide - top).sum(-1, keepdims=True))
    following = example.token_ids[1:]
    own = -log_probability[np.arange(len(following)), following]
    return float((own * example.loss_weights[1:]).sum())


def nats_by_keras(causal_lm: Any, examples: Sequence[Example]) -> list[float]:
    """Of all rows in one pass, padded on the right, which no position sees.

    Outside of a compiled function JAX compiles every operation for every shape.
    """
    rows = np.zeros((len(examples), max(len(each.token_ids) for each in examples)), np.int32)
    for row, example in zip(rows, examples, strict=True):
        row[: len(example.token_ids)] = example.token_ids
    return [
        nats_of(logits, example)
        for logits, example in zip(keras_logits(causal_lm, rows), examples, strict=True)
    ]


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3", "llama3"])
def test_a_rows_loss_is_that_of_the_models_own_logits(family, monkeypatch):
    """With the adapter, without it, and in batches of rows of different lengths."""
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 3 * 64)
    causal_lm, examples = small_model(family), uneven_examples(7)
    lora = with_lora(causal_lm, family)
    losses = losses_on(causal_lm, family, lora)
    tuned = losses.rows(examples)
    assert [row.tokens for row in tuned] == [int(e.loss_weights[1:].sum()) for e in examples]
    expected = nats_by_keras(causal_lm, examples)
    assert [row.nats for row in tuned] == pytest.approx(expected, rel=2e-5)
    with lora.disabled():
        base = losses.rows(examples)
        expected = nats_by_keras(causal_lm, examples)
        assert [row.nats for row in base] == pytest.approx(expected, rel=2e-5)
    assert abs(base[0].nats - tuned[0].nats) > 1e-2
    assert losses.rows(examples) == tuned


def test_a_bare_base_needs_no_adapter():
    causal_lm, examples = small_model("gemma", num_layers=1), uneven_examples(2)
    found = [row.nats for row in losses_on(causal_lm, "gemma").rows(examples)]
    assert found == pytest.approx(nats_by_keras(causal_lm, examples), rel=2e-5)


def test_a_row_costs_the_same_beside_any_others():
    causal_lm = small_model("gemma3")
    losses, examples = losses_on(causal_lm, "gemma3"), uneven_examples(6)
    together = losses.rows(examples)
    alone = [losses.rows([example])[0] for example in examples]
    assert [row.nats for row in alone] == pytest.approx([row.nats for row in together], rel=1e-5)


def test_every_row_comes_once_and_few_shapes_are_compiled(monkeypatch):
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 1024)
    lengths = [3, 700, 64, 65, 300, 2000, 90, 640]
    examples = [Example(np.ones(n, np.int32), np.ones(n, np.uint8), 0) for n in lengths]
    made = list(batches(examples))
    assert sorted(row for batch in made for row in batch.rows) == list(range(len(lengths)))
    assert all(batch.token_ids.size <= 1024 or len(batch.rows) == 1 for batch in made)
    for batch in made:
        for place, row in enumerate(batch.rows):
            assert batch.weights[place].sum() == lengths[row] - 1  # BOS is nobody's target
    many = [Example(np.ones(n, np.int32), np.ones(n, np.uint8), 0) for n in range(2, 900)]
    assert len({(b.token_ids.shape, b.weights.shape) for b in batches(many)}) <= 8
    assert list(batches([])) == []


def test_the_losses_are_those_of_transformers(tiny_gemma3: Path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from kerasft.models.sources import load_base

    base = load_base(str(tiny_gemma3), dtype="float32")
    losses = CompletionLosses(
        base.causal_lm.backbone, base.family, None, chunk_bytes=SEVERAL_CHUNKS
    )
    examples = uneven_examples(4, seed=5)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny_gemma3, dtype="float32").eval()
    for row, example in zip(losses.rows(examples), examples, strict=True):
        ids = torch.as_tensor(example.token_ids[None].astype(np.int64))
        supervised = torch.as_tensor(example.loss_weights[None].astype(bool))
        with torch.no_grad():
            mean = theirs(input_ids=ids, labels=ids.masked_fill(~supervised, -100)).loss
        assert row.nats == pytest.approx(float(mean) * row.tokens, rel=1e-4)
