"""Runs of a few seconds on the tiny random Gemma: their rows and their recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.recipe import Recipe, resolve

if TYPE_CHECKING:
    from kerasft.training import TrainResult

TINY = Path(__file__).parents[1] / "weights" / "tiny-gemma3"
WORDS = ("river", "paper", "window", "copper", "garden", "letter", "silver", "market")


def say_rows(count: int) -> list[dict[str, str]]:
    """Different questions with one answer, which is learned in a few steps."""
    return [
        {"instruction": f"Say {WORDS[n % len(WORDS)]} number {n}", "response": "the answer is 7"}
        for n in range(count)
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def small_recipe(source: Path, **settings: Any) -> Recipe:
    """A recipe in float32 on the tiny model, with overrides by `section__key`."""
    base = {
        "task": "instruct",
        "model": {"preset": str(TINY), "dtype": "float32"},
        "lora": {"rank": 4, "target_layers": ["query", "value", "gate", "down"]},
        "data": {"source": str(source)},
        "prompt": {"template": "instruction"},
        "train": {
            # A row of the data is a row of the window, so that steps can be counted by hand.
            "packing": False,
            "batch_size": 2,
            "sequence_length": 64,
            "learning_rate": 1e-2,
            "checkpoint_every": 0,
        },
        "eval": {"max_new_tokens": 8, "samples": 2, "batch_size": 4},
    }
    return resolve(base, {name.replace("__", "."): value for name, value in settings.items()})


def intricate_recipe(source: Path, **settings: Any) -> Recipe:
    """The small recipe with all that a resumed run must find its way in."""
    intricate = {
        "lora__dropout": 0.2,
        "data__validation": 3,
        "train__packing": True,
        "train__batch_size": 1,
        "train__sequence_length": 128,
        "train__gradient_accumulation": 2,
        "train__schedule": "cosine",
    }
    return small_recipe(source, **intricate | settings)


PROBE = np.arange(10, 22, dtype=np.int32).reshape(2, 6)
"""Token ids whose logits are compared."""


@dataclass(frozen=True)
class TinyRun:
    """A finished run with what a user's callback saw of it.

    Attributes:
        result: as `train` gave it.
        recipe: that was asked for.
        source: the file of its rows.
        events: name and index of every call of the callback.
        losses: `loss` of the logs of each step.
        epochs: the logs of each epoch's end.
        logits: of `PROBE`, by the live model at the end of training.
    """

    result: TrainResult
    recipe: Recipe
    source: Path
    events: list[tuple[str, int]]
    losses: list[float]
    epochs: list[dict[str, float]]
    logits: np.ndarray


def train_tiny(folder: Path, backend: str) -> TinyRun:
    """Three epochs of two full windows and one of two rows; 3 rows held out."""
    import kerasft

    source = write_rows(folder / "rows.jsonl", say_rows(13))
    recipe = small_recipe(
        source,
        data__validation=3,
        train__epochs=3,
        train__gradient_accumulation=2,
        train__schedule="constant",
    )
    events: list[tuple[str, int]] = []
    losses: list[float] = []
    epochs: list[dict[str, float]] = []
    logits: list[np.ndarray] = []

    def callbacks() -> list[Any]:
        import keras

        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs: Any = None) -> None:
                events.append(("train begins", 0))

            def on_train_end(self, logs: Any = None) -> None:
                events.append(("train ends", 0))
                inputs = {"token_ids": PROBE, "padding_mask": np.ones_like(PROBE)}
                values = self.model.head.logits(self.model.backbone(inputs, training=False))
                logits.append(keras.ops.convert_to_numpy(values))

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                events.append(("epoch begins", epoch))

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                events.append(("epoch ends", epoch))
                epochs.append(dict(logs))

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                events.append(("step ends", batch))
                losses.append(logs["loss"])

        return [Watch()]

    result = kerasft.train(recipe, backend=backend, out=folder / "run", callbacks=callbacks)
    return TinyRun(result, recipe, source, events, losses, epochs, logits[0])
