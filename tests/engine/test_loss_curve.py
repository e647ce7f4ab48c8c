"""The fast step beside a plain one: fifty steps whose losses lie on each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from kerasft.data.batching import WindowSource
from kerasft.data.examples import Example
from kerasft.engine.callbacks import arrays
from kerasft.engine.schedule import WarmupSchedule
from kerasft.recipe import TrainSettings
from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, with_lora

pytestmark = pytest.mark.keras

STEPS = 50
SETTINGS = TrainSettings(
    batch_size=1,
    gradient_accumulation=2,
    sequence_length=64,
    learning_rate=1e-2,
    schedule="cosine",
    warmup=5,
    weight_decay=0.01,
    clip_norm=1.0,
    epochs=STEPS,
)


@pytest.mark.parametrize("layout", ["keras", "peft"])
def test_the_fast_step_and_a_plain_one_have_the_same_loss_curve(layout):
    """Packed rows against one row an example, through blocks with a local window."""
    examples = uneven_examples(24)
    source = WindowSource(examples, SETTINGS)
    windows = [source.window(*divmod(step, source.steps_per_epoch)) for step in range(STEPS)]
    assert max(window.segment_ids.max() for window in windows) > 1
    tuner = tuner_on(small_model("gemma3"), "gemma3", moved=False, layout=layout)
    tuner.prepare(SETTINGS, total_steps=STEPS)
    fast = [line["loss"] for line in fit(tuner, [arrays(window) for window in windows])]
    steps = [[examples[index] for index in window.rows] for window in windows]
    plain = plain_losses(layout, steps)
    assert len(fast) == len(plain) == STEPS
    assert np.mean(plain[-5:]) < np.mean(plain[:5]) - 0.5
    # 2e-5 apart at most where this was written, on either backend.
    np.testing.assert_allclose(fast, plain, atol=2e-4)


def plain_losses(layout: str, steps: Sequence[Sequence[Example]]) -> list[float]:
    """Of KerasHub's forward pass, full logits, Keras' loss, clipping and AdamW."""
    causal_lm = small_model("gemma3")
    variables = with_lora(causal_lm, "gemma3", moved=False, layout=layout).variables
    optimizer = keras.optimizers.AdamW(
        learning_rate=WarmupSchedule(SETTINGS, STEPS),
        weight_decay=SETTINGS.weight_decay,
        beta_1=SETTINGS.beta_1,
        beta_2=SETTINGS.beta_2,
        epsilon=SETTINGS.epsilon,
        global_clipnorm=SETTINGS.clip_norm,
    )
    optimizer.build(variables)
    rows = max(len(step) for step in steps)
    update = updates(plain_loss(causal_lm.backbone), variables, optimizer)
    return [float(update(padded(step, rows))) for step in steps]


def padded(examples: Sequence[Example], rows: int) -> dict[str, np.ndarray]:
    """One row an example; the weight of a place is that of the token after it."""
    batch = {
        "token_ids": np.zeros((rows, 64), np.int32),
        "padding_mask": np.zeros((rows, 64), np.int32),
        "weights": np.zeros((rows, 64), np.float32),
    }
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        batch["token_ids"][row, :length] = example.token_ids
        batch["padding_mask"][row, :length] = 1
        batch["weights"][row, : length - 1] = example.loss_weights[1:]
    return batch | {"targets": np.roll(batch["token_ids"], -1, 1)}


def plain_loss(backbone: keras.Model) -> Callable[[Mapping[str, Any]], Any]:
    """The token mean over a batch as `padded` gives it."""
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def loss(batch: Mapping[str, Any]) -> Any:
        inputs = {name: batch[name] for name in ("token_ids", "padding_mask")}
        logits = backbone.token_embedding(backbone(inputs), reverse=True)
        summed = criterion(batch["targets"], logits, sample_weight=batch["weights"])
        return summed / keras.ops.sum(batch["weights"])

    return loss


def updates(
    function: Callable[[Mapping[str, Any]], Any],
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """One update by a batch, which gives its loss, on the backend that Keras has."""
    if keras.backend.backend() == "torch":
        import torch

        def by_torch(batch: Mapping[str, np.ndarray]) -> Any:
            loss = function({name: torch.as_tensor(value) for name, value in batch.items()})
            optimizer.apply(torch.autograd.grad(loss, [v.value for v in variables]), variables)
            return loss.detach()

        return by_torch
    import jax

    def pure(values: list[Any], batch: Mapping[str, Any]) -> Any:
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return function(batch)

    @jax.jit
    def step(values: list[Any], state: list[Any], batch: Mapping[str, Any]) -> Any:
        loss, gradients = jax.value_and_grad(pure)(values, batch)
        return loss, *optimizer.stateless_apply(state, gradients, values)

    held = [v.value for v in variables], [v.value for v in optimizer.variables]

    def by_jax(batch: Mapping[str, np.ndarray]) -> Any:
        nonlocal held
        loss, *held = step(*held, batch)
        return loss

    return by_jax
