"""Rows for the twin's tests, and their windows; no Keras."""

from __future__ import annotations

import numpy as np

from kerasft.data.batching import WindowSource
from kerasft.data.examples import Example
from kerasft.recipe import TrainSettings

VOCABULARY = 96


def uneven_rows(count: int = 12, seed: int = 0) -> list[Example]:
    """Rows of 5 to 60 tokens of which the last third or so is supervised."""
    random = np.random.default_rng(seed)
    examples = []
    for row in range(count):
        length = int(random.integers(5, 61))
        token_ids = random.integers(4, VOCABULARY, length).astype(np.int32)
        token_ids[0] = 2
        weights = np.zeros(length, np.uint8)
        weights[length - max(1, length // 3) :] = 1
        examples.append(Example(token_ids, weights, row))
    return examples


def packed(count: int = 12, **settings: object) -> WindowSource:
    """Windows of two micro-batches of two packed rows."""
    chosen = {"batch_size": 2, "gradient_accumulation": 2, "sequence_length": 128} | settings
    return WindowSource(uneven_rows(count), TrainSettings(**chosen))
