"""What the engine's tests train: tiny models with an adapter, and uneven rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasft.data.batching import WindowSource
from kerasft.data.examples import Example
from kerasft.engine.callbacks import arrays
from kerasft.engine.finetuner import FineTuner
from kerasft.models.families import FAMILIES
from kerasft.models.lora import Lora, attach
from kerasft.recipe import LoraSettings, TrainSettings
from tests.tiny import VOCABULARY, random_arrays, tiny_config

EVERY_TARGET = ["query", "key", "value", "output", "gate", "up", "down"]


def small_model(family: str, *, dtype: str = "float32", **changes: Any) -> Any:
    """A tiny random causal LM with some of its config changed, such as fewer blocks."""
    table, config = FAMILIES[family], tiny_config(family) | changes
    causal_lm = table.build(config, dtype)
    values = random_arrays(family, config)
    for spec in table.tensors(config):
        spec.variable(causal_lm.backbone).assign(values[spec.name])
    return causal_lm


def with_lora(causal_lm: Any, family: str, *, moved: bool = True, **settings: Any) -> Lora:
    """An adapter on a model; B is random where `moved`, so that it acts."""
    chosen = LoraSettings(**{"rank": 2, "alpha": 4.0, "target_layers": EVERY_TARGET} | settings)
    lora = attach(causal_lm, FAMILIES[family], chosen, seed=0)
    if moved:
        lora.assign(random_b(lora.tensors()))
    return lora


def random_b(tensors: Mapping[str, np.ndarray], size: float = 0.3) -> dict[str, np.ndarray]:
    """An adapter's tensors with random values in every B."""
    random = np.random.default_rng(3)
    return {
        name: (size * random.standard_normal(value.shape)).astype(np.float32)
        if name.endswith("/b")
        else value
        for name, value in tensors.items()
    }


def tuner_on(
    causal_lm: Any,
    family: str,
    *,
    moved: bool = True,
    remat: bool = False,
    compiled: bool = False,
    quantization: str = "none",
    **settings: Any,
) -> FineTuner:
    """A `FineTuner` over a model with a new adapter; `settings` are the adapter's."""
    lora = with_lora(causal_lm, family, moved=moved, **settings)
    return FineTuner(
        causal_lm.backbone,
        FAMILIES[family],
        lora,
        # Chunks of 20 tokens, so that a window has several.
        chunk_bytes=4 * VOCABULARY * 20,
        remat=remat,
        compiled=compiled,
        quantization=quantization,
    )


def small_tuner(**settings: Any) -> FineTuner:
    """A `FineTuner` over a Gemma of one block; `settings` as `tuner_on` takes them."""
    return tuner_on(small_model("gemma", num_layers=1), "gemma", **settings)


def uneven_examples(count: int = 8, seed: int = 0) -> list[Example]:
    """Rows of 5 to 60 tokens of which the last third or so is supervised."""
    random = np.random.default_rng(seed)
    examples = []
    for row in range(count):
        length = int(random.integers(5, 61))
        token_ids = random.integers(4, VOCABULARY, length).astype(np.int32)
        token_ids[0] = 2
        weights = np.zeros(length, np.uint8)
        weights[length - max(1, int(length * random.uniform(0.1, 0.9))) + 1 :] = 1
        weights[-1] = 1
        examples.append(Example(token_ids, weights, row))
    return examples


def windows_of(
    examples: Sequence[Example], batch_size: int, accumulation: int, **settings: Any
) -> list[dict[str, np.ndarray]]:
    """The windows of an epoch, as they go to the device; a row holds one example by default."""
    chosen = {"packing": False} | settings
    source = WindowSource(
        examples,
        TrainSettings(batch_size=batch_size, gradient_accumulation=accumulation, **chosen),
    )
    return [arrays(source.window(0, index)) for index in range(source.steps_per_epoch)]


class Windows(keras.utils.PyDataset):
    """Given windows, in order, fed to a tuner."""

    def __init__(self, tuner: FineTuner, windows: Sequence[Mapping[str, np.ndarray]]) -> None:
        super().__init__()
        self._tuner = tuner
        self._windows = list(windows)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]:
        return self._tuner.feed(self._windows[index])


def fit(tuner: FineTuner, windows: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, float]]:
    """Train on windows through Keras' `fit`; the metrics of every step."""
    tuner.fit(Windows(tuner, windows), verbose=0, shuffle=False)
    tuner.flush()
    return tuner.drain()
