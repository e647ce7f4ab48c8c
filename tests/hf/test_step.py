"""The Hugging Face loop: token means, and a frozen base."""

import numpy as np
import pytest
import torch

from kerasft.bench.shapes import TINY
from kerasft.data.examples import Example
from kerasft.hf.batches import IGNORED, padded, supervised
from kerasft.hf.models import module_names, random_model, trained_parameters, with_lora
from kerasft.hf.step import TrainStep
from kerasft.recipe import TrainSettings

SETTINGS = TrainSettings(learning_rate=1e-2, clip_norm=0.0, schedule="constant")


def example(length: int, trained: int) -> Example:
    weights = np.zeros(length, np.uint8)
    weights[length - trained :] = 1
    ids = np.random.default_rng(length).integers(4, 500, length).astype(np.int32)
    return Example(ids, weights, 0)


def model() -> torch.nn.Module:
    config = TINY.table.hf_config(TINY.config, dtype="float32", bos_id=2, eos_ids=[1], pad_id=0)
    return with_lora(
        random_model(config, "float32", seed=1),
        TINY.table,
        TINY.config,
        rank=4,
        alpha=4,
        dropout=0.0,
        targets=["query", "gate"],
    )


def test_padding_is_masked_and_never_a_target() -> None:
    batch = padded([example(5, 2), example(3, 3)])
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batch["labels"][0].tolist()[:3] == [IGNORED] * 3
    assert batch["labels"][1].tolist()[3:] == [IGNORED] * 2
    assert supervised(batch) == 2 + 2  # the first token of a row is nobody's target


def test_targets_are_named_as_in_transformers() -> None:
    assert module_names(TINY.table, TINY.config, ["value", "down"]) == ["v_proj", "down_proj"]


def test_an_accumulated_window_is_one_batch() -> None:
    rows = [example(24, 20), example(7, 2), example(12, 5), example(30, 1)]
    steps = [TrainStep(model(), SETTINGS, 1) for _ in range(2)]
    losses = [
        float(steps[0]([padded(rows)])["loss"]),
        float(steps[1]([padded(rows[:1]), padded(rows[1:])])["loss"]),
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(steps[0].parameters, steps[1].parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_the_adapter_learns_and_the_base_stays() -> None:
    step = TrainStep(model(), SETTINGS, 1)
    base = {
        name: value.clone()
        for name, value in step.model.named_parameters()
        if not value.requires_grad
    }
    batch = [padded([example(24, 20), example(12, 6)])]
    losses = [float(step(batch)["loss"]) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert all(
        torch.equal(value, base[name])
        for name, value in step.model.named_parameters()
        if name in base
    )
    # Seven layers: query 32 → 32 and gate 32 → 64, at rank 4.
    assert trained_parameters(step.model) == 7 * 4 * (32 + 32 + 32 + 64)
    assert all(value.dtype == torch.float32 for value in step.parameters)
