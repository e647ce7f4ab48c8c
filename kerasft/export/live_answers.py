"""The live model's answers to the probes, made before the exported folder is loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kerasft.export.asking import MAX_NEW_TOKENS
from kerasft.export.probes import Probes, padded
from kerasft.export.views import stop_ids

if TYPE_CHECKING:
    from kerasft.export.views import ModelView


@dataclass
class LiveAnswers:
    """What the live model says.

    Attributes:
        live: logits at the compared positions of each row, with the adapter: float32
            (positions, vocabulary).
        base: the same without it.
        continuations: of each prompt, greedily, token ids.
    """

    live: list[np.ndarray] = field(default_factory=list)
    base: list[np.ndarray] = field(default_factory=list)
    continuations: list[list[int]] = field(default_factory=list)


def answer_live(model: ModelView, probes: Probes) -> LiveAnswers:
    """Asks a live model that computes in float32; nothing of it is kept."""
    answers = LiveAnswers()
    with _exact_products():
        for row, positions in zip(probes.rows, probes.positions, strict=True):
            batch = padded(row, model.tokenizer.pad_id, probes.longest)
            answers.live.append(model.logits(batch)[0][positions])
            answers.base.append(model.base_logits(batch)[0][positions])
        answers.continuations = model.generate_ids(
            list(probes.prompts), MAX_NEW_TOKENS, stop_ids(model)
        )
    del model
    gc.collect()  # layers and decoders refer to each other
    return answers


@contextmanager
def _exact_products() -> Iterator[None]:
    """Float32 products in full float32 on a GPU, which both frameworks may shorten."""
    import keras

    if keras.config.backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
