"""What every contender is given: one model, one set of rows, one way to train."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.bench.shapes import Shape
from kerasft.bench.stopwatch import Plan
from kerasft.data.examples import Example
from kerasft.models.families import FAMILIES, Family
from kerasft.recipe import LoraSettings, TrainSettings

CLIP_NORM = 1.0
LEARNING_RATE = 1e-3
SEED = 0

FIRST_TOKEN, TOKENS = 4, 1000
"""Random rows use this many ids."""

DISTINCT_ROWS = 8
"""Random rows that differ."""

MEDIAN_STEPS = 10
"""Synchronised steps after a whole epoch."""


@dataclass(frozen=True)
class Work:
    """A benchmark. Every field is a JSON value, so that it travels to a process.

    Attributes:
        family, config: the decoder, as its family has it.
        preset: of the real weights; None for random ones.
        folder: a Hugging Face folder with the same weights, where one was needed.
        dtype: of the frozen base; adapters are float32.
        layout, rank, targets: of the adapter; alpha is the rank, so its scale is 1.
        batch_size: rows a step; packed rows where a contender packs.
        length: tokens a row.
        packing: whether contenders that can pack rows of different lengths do so.
        compile: kerasft's `train.compile`.
        remat: whether a block's activations are computed again in the backward pass.
        steps: free and synchronised steps each; 0 for one epoch of the rows.
        warmup: steps before them, after the first.
    """

    family: str
    config: Mapping[str, Any]
    preset: str | None
    folder: str | None
    dtype: str
    layout: str
    rank: int
    targets: Sequence[str]
    batch_size: int
    length: int
    packing: bool
    compile: str
    remat: bool
    steps: int
    warmup: int

    @property
    def table(self) -> Family:
        return FAMILIES[self.family]

    @property
    def shape(self) -> Shape:
        return Shape(self.family, self.config)

    @property
    def lora(self) -> LoraSettings:
        return LoraSettings(
            layout=self.layout, rank=self.rank, target_layers=list(self.targets), dropout=0.0
        )

    def train(self, epochs: int = 1) -> TrainSettings:
        """The settings of a run that does this work."""
        return TrainSettings(
            sequence_length=self.length,
            batch_size=self.batch_size,
            packing=self.packing,
            compile=self.compile,
            remat="block" if self.remat else "none",
            epochs=epochs,
            learning_rate=LEARNING_RATE,
            schedule="constant",
            clip_norm=CLIP_NORM,
            seed=SEED,
        )

    def plan(self, steps_per_epoch: int) -> Plan:
        """The phases, for a contender whose epoch has this many steps."""
        if self.steps:
            return Plan(self.warmup, self.steps, self.steps)
        return Plan(0, max(1, steps_per_epoch - 1), min(MEDIAN_STEPS, steps_per_epoch))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Work":
        return cls(**json.loads(path.read_text("utf-8")))


def random_examples(
    vocabulary: int, count: int, length: int, supervised_share: float
) -> list[Example]:
    """Rows of random tokens, the last share of each supervised.

    A few rows come again and again, so that the loss falls where training works.
    """
    generator = np.random.default_rng(SEED)
    high = min(vocabulary, FIRST_TOKEN + TOKENS)
    ids = generator.integers(FIRST_TOKEN, high, (DISTINCT_ROWS, length), dtype=np.int32)
    weights = np.zeros(length, np.uint8)
    weights[length - max(1, round(supervised_share * length)) :] = 1
    return [Example(ids[index % DISTINCT_ROWS], weights, index) for index in range(count)]


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Rows as one .npz of flat arrays."""
    np.savez(
        path,
        token_ids=np.concatenate([example.token_ids for example in examples]),
        loss_weights=np.concatenate([example.loss_weights for example in examples]),
        lengths=np.asarray([len(example.token_ids) for example in examples], np.int32),
    )


def read_examples(path: Path, vocabulary: int) -> list[Example]:
    """What `write_examples` wrote; ids of a larger vocabulary wrap around."""
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])
        ids = stored["token_ids"] % vocabulary
        rows = zip(
            np.split(ids, ends[:-1]), np.split(stored["loss_weights"], ends[:-1]), strict=True
        )
        return [Example(*row, index) for index, row in enumerate(rows)]


def supervised_tokens(example: Example) -> int:
    """Targets of an example; its first token is nobody's."""
    return int(example.loss_weights[1:].sum())
