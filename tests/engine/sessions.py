"""A tiny model, its generator on the backend of the tests, and what a full pass gives."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import keras
import numpy as np

from kerasft.engine.session import Generator, Session
from kerasft.models.families import FAMILIES
from kerasft.models.lora import Lora
from tests.engine.tuning import small_model, with_lora
from tests.tiny import VOCABULARY, WINDOW, keras_logits

LENGTHS = (3 * WINDOW, 1, WINDOW - 1, WINDOW)
NEW = 2 * WINDOW


def generator_on(causal_lm: keras.Model, family: str, lora: Lora | None) -> Generator:
    """The backend's own generator."""
    if keras.backend.backend() == "jax":
        from kerasft.engine.jax_generate import JaxGenerator as BackendGenerator
    else:
        from kerasft.engine.torch_generate import TorchGenerator as BackendGenerator
    return BackendGenerator(causal_lm.backbone, FAMILIES[family], lora)


class Subject:
    """A tiny model with an adapter on it, unless `layout` is None, and its generator."""

    def __init__(
        self, family: str, dtype: str = "float32", layout: str | None = "keras", **config: Any
    ) -> None:
        self.causal_lm = small_model(family, dtype=dtype, **config)
        self.family = FAMILIES[family]
        self.lora = None if layout is None else with_lora(self.causal_lm, family, layout=layout)
        self.generator = generator_on(self.causal_lm, family, self.lora)

    def next_logits(self, row: list[int]) -> np.ndarray:
        """Logits after a row, from a full pass; what is right of it is not seen."""
        padded = np.zeros((1, 64 if len(row) <= 64 else 128), np.int32)
        padded[0, : len(row)] = row
        with _without_gradients():
            return keras_logits(self.causal_lm, padded)[0, len(row) - 1]


def prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 11) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[2, *random.integers(4, VOCABULARY, length - 1).tolist()] for length in lengths]


def assert_next(subject: Subject, session: Session, rows: list[list[int]]) -> None:
    """The session's logits are those of a full pass over each row."""
    expected = np.stack([subject.next_logits(row) for row in rows])
    found = session.logits()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)


def _without_gradients() -> Any:
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
