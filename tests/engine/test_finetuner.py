"""The step: windows, the token mean, clipping, AdamW, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasft.engine import checkpoint, recorder
from kerasft.errors import RunError
from kerasft.recipe import TrainSettings
from tests.engine.tuning import (
    fit,
    small_model,
    small_tuner,
    tuner_on,
    uneven_examples,
    windows_of,
)
from tests.engine.twenty_losses import losses

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def plain() -> Any:
    """A tuner that is asked for gradients; tests leave its adapter as it was."""
    return small_tuner()


@pytest.fixture(scope="module")
def window() -> dict[str, np.ndarray]:
    return windows_of(uneven_examples(8), 4, 2)[0]


def expected_sums(tuner: Any, window: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Summed loss and right tokens of a window from its full logits, and its tokens."""
    loss = right = 0.0
    names = ("token_ids", "segment_ids", "gather_indices", "targets", "weights")
    for token_ids, segments, places, targets, weights in zip(
        *(window[name] for name in names), strict=True
    ):
        hidden = tuner.backbone({"token_ids": token_ids, "padding_mask": segments > 0})
        logits = tuner.backbone.token_embedding(hidden, reverse=True)
        logits = keras.ops.convert_to_numpy(keras.ops.stop_gradient(logits)).astype(np.float64)
        logits = logits.reshape(-1, logits.shape[-1])[places]
        norm = np.log(np.exp(logits).sum(-1))
        loss += (weights * (norm - logits[np.arange(len(targets)), targets])).sum()
        right += (weights * (logits.argmax(-1) == targets)).sum()
    return loss, right, window["weights"].sum()


def gradient_norm(gradients: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in gradients.values())))


def test_loss_is_the_token_mean_of_the_window(plain, window):
    tuner = small_tuner()
    tuner.prepare(TrainSettings(), total_steps=1)
    metrics = fit(tuner, [window])[0]
    loss, right, tokens = expected_sums(plain, window)
    assert metrics["loss"] == pytest.approx(loss / tokens, rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(right / tokens, rel=1e-5)
    per_micro = window["weights"].sum(axis=1)
    assert per_micro.max() > 1.2 * per_micro.min()  # a mean of means would be another number


def test_a_window_is_one_update_however_it_is_cut(plain):
    examples = uneven_examples(8)
    found = []
    for batch_size, accumulation in ((8, 1), (4, 2), (1, 8)):
        (window,) = windows_of(examples, batch_size, accumulation)
        assert window["token_ids"].shape[:2] == (accumulation, batch_size)
        found.append(plain.gradients(window))
    for name, whole in found[0].items():
        assert np.abs(whole).max() > 1e-3, name
        for split in found[1:]:
            np.testing.assert_allclose(split[name], whole, atol=1e-6, err_msg=name)


def test_rows_that_fill_up_a_window_change_nothing(plain):
    examples = uneven_examples(5)
    (exact,) = windows_of(examples, 5, 1)
    (padded,) = windows_of(examples, 4, 2)
    assert [int(row.any()) for row in padded["segment_ids"][1]] == [1, 0, 0, 0]
    assert padded["weights"].sum() == exact["weights"].sum()
    whole, filled = plain.gradients(exact), plain.gradients(padded)
    for name, value in whole.items():
        np.testing.assert_allclose(filled[name], value, atol=1e-6, err_msg=name)


def test_packing_does_not_change_the_update():
    """Through blocks with and without a sliding window, in another order and other cuts."""
    examples = uneven_examples(8)
    (alone,) = windows_of(examples, 4, 2)
    (packed,) = windows_of(examples, 1, 3, packing=True, sequence_length=128)
    assert packed["segment_ids"].max(axis=-1).min() > 1
    assert packed["token_ids"].size < 0.8 * alone["token_ids"].size
    assert packed["weights"].sum() == alone["weights"].sum()
    tuner = tuner_on(small_model("gemma3"), "gemma3")
    found, expected = tuner.gradients(packed), tuner.gradients(alone)
    for name, value in expected.items():
        assert np.abs(value).max() > 1e-3, name
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


def test_gradient_is_that_of_the_loss(plain, window):
    """Finite differences along a random direction of A and B."""
    found = plain.gradients(window)
    before, random = plain.lora.tensors(), np.random.default_rng(0)
    direction = {
        name: random.standard_normal(value.shape).astype(np.float32)
        for name, value in before.items()
    }
    losses, step = [], 2e-3
    for sign in (1, -1):
        plain.lora.assign({n: before[n] + sign * step * direction[n] for n in before})
        loss, _, tokens = expected_sums(plain, window)
        losses.append(loss / tokens)
    plain.lora.assign(before)
    slope = sum(float((found[name] * direction[name]).sum()) for name in before)
    assert abs(slope) > 0.05
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=0.02)


def first_moments(tuner: Any) -> dict[str, np.ndarray]:
    """AdamW's mean of the gradients so far, by the names of A and B."""
    optimizer = tuner.optimizer
    return {
        name: np.array(
            keras.ops.convert_to_numpy(
                optimizer._momentums[optimizer._get_variable_index(variable)]
            )
        )
        for name, variable in zip(tuner.lora.tensors(), tuner.lora.variables, strict=True)
    }


@pytest.mark.parametrize("share", [0.25, 4, None])
def test_clipping_is_by_the_global_norm(plain, window, share):
    """A norm above the limit is brought down to it; a smaller one stays, as with no limit."""
    free = plain.gradients(window)
    norm = gradient_norm(free)
    tuner = small_tuner()
    limit = share * norm if share else 0.0
    tuner.prepare(TrainSettings(clip_norm=limit, beta_1=0.9), total_steps=1)
    metrics = fit(tuner, [window])[0]
    tuner.sync()
    assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    for name, moment in first_moments(tuner).items():
        expected = min(share or 1, 1) * free[name]
        np.testing.assert_allclose(moment / (1 - 0.9), expected, atol=1e-6, err_msg=name)


def test_five_steps_are_those_of_torchs_adamw(window):
    """With weight decay on A and B, a warm-up and a falling rate."""
    import torch

    settings = TrainSettings(
        learning_rate=0.02, schedule="linear", warmup=2, weight_decay=0.3, clip_norm=0.0
    )
    rates = [0.01, 0.02, 0.02, 0.02 * 2 / 3, 0.02 / 3]
    tuner = small_tuner()
    tuner.prepare(settings, total_steps=5)
    reference = {name: torch.tensor(value) for name, value in tuner.lora.tensors().items()}
    optimizer = torch.optim.AdamW(reference.values(), lr=1.0, weight_decay=0.3, eps=1e-8)
    metrics = []
    for rate in rates:
        for name, gradient in tuner.gradients(window).items():
            reference[name].grad = torch.tensor(gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        metrics += fit(tuner, [window])
        tuner.sync()
        for name, value in tuner.lora.tensors().items():
            # Keras adds epsilon to the uncorrected root, which counts where it is tiny.
            assert np.abs(value - reference[name].numpy()).mean() < 1e-5, name
            reference[name].data = torch.tensor(value)
    assert [line["learning_rate"] for line in metrics] == pytest.approx(rates)


def test_the_base_is_bit_for_bit_the_same_after_training(window):
    tuner = small_tuner(moved=False, dropout=0.1)
    tuner.prepare(TrainSettings(learning_rate=0.05, weight_decay=0.5), total_steps=4)
    adapter = {id(variable) for variable in tuner.lora.variables}
    assert {id(variable) for variable in tuner.trainable_variables} == adapter
    base = [
        variable
        for variable in tuner.backbone.variables
        if id(variable) not in adapter and keras.backend.is_float_dtype(variable.dtype)
    ]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in base]
    start = tuner.lora.tensors()
    lines = fit(tuner, [window] * 3)
    tuner.sync()
    assert len(base) == 9 + 2 and lines[-1]["loss"] < lines[0]["loss"]
    for variable, value in zip(base, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value, variable.path)
    for name, value in tuner.lora.tensors().items():
        assert np.abs(value - start[name]).max() > 1e-3, name


def test_state_goes_on_as_if_never_stopped(tmp_path):
    """Optimizer, schedule position and dropout, through a checkpoint's files."""
    windows = windows_of(uneven_examples(16), 4, 1)
    settings = TrainSettings(learning_rate=0.02, schedule="cosine", warmup=1)

    def tuner() -> Any:
        made = small_tuner(dropout=0.3, target_layers=["query", "down"])
        made.prepare(settings, total_steps=4)
        return made

    whole = tuner()
    fit(whole, windows[:2])
    whole.sync()
    adapter = whole.lora.tensors()
    checkpoint.save(tmp_path, 2, whole.training_state(), {}, keep=1)
    expected = fit(whole, windows[2:])
    resumed = tuner()
    resumed.lora.assign(adapter)
    resumed.restore_training_state(checkpoint.latest(tmp_path)[0].tensors)
    assert fit(resumed, windows[2:]) == expected
    for name, value in whole.lora.tensors().items():
        np.testing.assert_array_equal(resumed.lora.tensors()[name], value)


def test_restoring_collects_every_fault_and_changes_nothing():
    tuner = small_tuner(dropout=0.3)
    tuner.prepare(TrainSettings(), total_steps=4)
    before = tuner.training_state()
    wrong = {name: value + 1 for name, value in before.items()} | {"adapter/x": np.zeros(1)}
    del wrong["optimizer/0001"]
    wrong["optimizer/0003"] = np.zeros((3, 3), np.float32)
    wrong["optimizer/0099"] = np.zeros(2, np.float32)
    with pytest.raises(RunError) as caught:
        tuner.restore_training_state(wrong)
    said = str(caught.value)
    assert "(3)" in said
    faults = ("optimizer/0001 is missing", "optimizer/0003 (", "optimizer/0099 belongs to nothing")
    assert all(fault in said for fault in faults)
    for name, value in tuner.training_state().items():
        np.testing.assert_array_equal(value, before[name])


def test_validation_is_token_weighted_and_without_dropout(window):
    tuner = small_tuner(dropout=0.5)
    tuner.prepare(TrainSettings(), total_steps=4)
    windows = windows_of(uneven_examples(6, seed=9), 2, 2)
    sums = np.sum([expected_sums(tuner, each) for each in windows], axis=0)
    result = tuner.validate(iter(windows))
    assert result["loss"] == pytest.approx(sums[0] / sums[2], rel=1e-5)
    assert result["accuracy"] == pytest.approx(sums[1] / sums[2], rel=1e-5)
    assert result["supervised_tokens"] == sums[2]
    empty = {**windows[0], "weights": np.zeros_like(windows[0]["weights"])}
    assert tuner.validate([*windows, empty]) == result


class Clock:
    """Time that a test turns on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_metrics_wait_on_the_device_and_come_back_in_order(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(recorder, "time", clock)
    tuner = small_tuner()
    line = [{"loss": keras.ops.convert_to_tensor(float(step))} for step in range(200)]
    assert tuner.record(line[0]) == {"loss": 0.0}
    assert tuner.drain() == [{"loss": 0.0}] and tuner.drain() == []
    assert tuner.record(line[1]) == {"loss": 0.0} and tuner.drain() == []
    clock.now += recorder.FLUSH_SECONDS
    assert tuner.record(line[2]) == {"loss": 2.0}
    tuner.record(line[3])
    tuner.flush()
    assert [each["loss"] for each in tuner.drain()] == [1, 2, 3]
    seen = []
    for step in range(4, 4 + 2 * recorder.MAX_PENDING + 5):
        tuner.record(line[step])
        seen += tuner.drain()
    assert [each["loss"] for each in seen] == list(range(4, 4 + 2 * recorder.MAX_PENDING))
    tuner.flush()
    assert len(tuner.drain()) == 5
    assert all(type(value) is float for value in tuner.latest.values())


def test_torch_and_jax_give_the_same_twenty_losses(backend: str) -> None:
    """Gemma 2 past its window with both soft-caps, all targets, same windows, float32."""
    if backend != "torch":
        pytest.skip("the run under torch compares both")
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.twenty_losses"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_jax, by_torch = json.loads(done.stdout.splitlines()[-1]), losses()
    assert len(by_torch) == 20
    assert by_torch[-1] < by_torch[0] - 0.1
    np.testing.assert_allclose(by_jax, by_torch, atol=1e-3)
