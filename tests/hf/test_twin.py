"""The twin beside Keras' side: one base, one start, one gradient, one run."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from kerasft.data.prompts import template_for
from kerasft.engine.callbacks import arrays
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.loaded import with_adapter
from kerasft.hf import adapter as peft_side
from kerasft.hf import base as hf_base
from kerasft.hf.step import TrainStep
from kerasft.hf.windows import inputs
from kerasft.models import adapter as adapters
from kerasft.models import lora, sources
from kerasft.models.lora_start import starting_tensors
from kerasft.recipe import TARGETS, LoraSettings, PromptSettings, TrainSettings
from tests.engine.tuning import fit, random_b
from tests.hf.rows import VOCABULARY, packed

pytestmark = pytest.mark.keras

SETTINGS = LoraSettings(layout="peft", rank=3, alpha=6.0, target_layers=list(TARGETS))
SEED = 5


class Pair:
    """One base in both stacks, each with an adapter at its starting values."""

    def __init__(self, preset: str) -> None:
        self.keras_base = sources.load_base(preset, dtype="float32")
        table = self.keras_base.family
        self.lora = lora.attach(self.keras_base.causal_lm, table, SETTINGS, SEED)
        backbone = self.keras_base.causal_lm.backbone
        self.tuner = FineTuner(backbone, table, self.lora, chunk_bytes=4 * VOCABULARY * 20)
        self.base = hf_base.load_base(preset, "float32")
        self.model = peft_side.attach(self.base, SETTINGS, SEED)

    def hf_tensors(self) -> dict[str, np.ndarray]:
        return peft_side.tensors(self.model, self.base.family, self.base.config)

    def assign(self, tensors: dict[str, np.ndarray]) -> None:
        self.lora.assign(tensors)
        peft_side.assign(self.model, self.base.family, self.base.config, tensors)

    def hf_gradients(self, batches: list[dict[str, torch.Tensor]]) -> tuple[float, dict]:
        tokens = sum((batch["labels"] >= 0).sum() for batch in batches)
        loss = torch.zeros(())
        for batch in batches:
            part = self.model(**batch, num_items_in_batch=tokens, use_cache=False).loss
            part.backward()
            loss += part.detach()
        named = peft_side.variables(self.model, self.base.family, self.base.config)
        return float(loss), {name: value.grad.numpy().T for name, value in named.items()}


@pytest.fixture(scope="module", autouse=True)
def on_torch(backend: str) -> None:
    if backend == "jax":
        pytest.skip("the steps of both backends are compared in tests/engine")


@pytest.fixture(scope="module")
def pair(preset: str, on_torch: None) -> Pair:
    return Pair(preset)


def test_both_sides_start_with_the_same_values_on_the_same_weights(pair: Pair) -> None:
    assert pair.base.fingerprint == pair.keras_base.fingerprint
    assert pair.base.config == pair.keras_base.config
    start = starting_tensors(pair.base.family, pair.base.config, SETTINGS, SEED)
    for side in (pair.lora.tensors(), pair.hf_tensors()):
        assert list(side) == list(start)
        for name, value in start.items():
            np.testing.assert_array_equal(side[name], value, name)
    assert pair.lora.parameters == sum(value.size for value in start.values())


def test_loss_and_gradients_of_a_packed_window_are_the_same(pair: Pair) -> None:
    """B is moved, since A has no gradient where B is zero."""
    pair.assign(random_b(pair.lora.tensors()))
    window = packed().window(0, 0)
    ours = pair.tuner.gradients(arrays(window))
    expected = pair.tuner.validate([arrays(window)])["loss"]
    loss, theirs = pair.hf_gradients([inputs(window, micro) for micro in range(2)])
    assert loss == pytest.approx(expected, rel=1e-5)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        difference = np.linalg.norm(theirs[name] - gradient) / np.linalg.norm(gradient)
        assert difference < 1e-4, name


def test_twenty_steps_are_the_same_and_keras_loads_what_they_leave(
    preset: str, tmp_path: Path
) -> None:
    pair = Pair(preset)
    settings = TrainSettings(
        learning_rate=1e-2, schedule="cosine", warmup=3, weight_decay=0.01, epsilon=1e-6
    )
    source = packed(40)
    windows = [
        source.window(step // source.steps_per_epoch, step % source.steps_per_epoch)
        for step in range(20)
    ]
    pair.tuner.prepare(settings, total_steps=20)
    ours = fit(pair.tuner, [arrays(window) for window in windows])
    step = TrainStep(pair.model, settings, 20, counted=True)
    theirs = [
        {
            name: float(value)
            for name, value in step([inputs(window, micro) for micro in range(2)]).items()
        }
        for window in windows
    ]
    assert theirs[-1]["loss"] < 0.98 * theirs[0]["loss"]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4), one
    check_that_keras_loads(pair, preset, tmp_path / "adapter")


def check_that_keras_loads(pair: Pair, preset: str, folder: Path) -> None:
    info = adapters.AdapterInfo(
        preset=preset,
        base_id=pair.base.base_id,
        fingerprint=pair.base.fingerprint,
        family=pair.base.family.name,
        dtype="float32",
        task="instruct",
        template=template_for(PromptSettings(template="instruction"), "instruct").to_dict(),
        lora=SETTINGS,
        step=20,
    )
    adapters.save(folder, pair.hf_tensors(), info)
    ids = np.arange(10, 42, dtype=np.int32).reshape(2, 16)
    pair.model.eval()
    with torch.no_grad():
        expected = pair.model(torch.from_numpy(ids.astype(np.int64))).logits.numpy()
    found = keras.ops.convert_to_numpy(with_adapter(folder).logits(ids))
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
