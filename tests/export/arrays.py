"""Trained weights of a tiny random model as plain arrays: a view without Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasft.data.prompts import template_for
from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.models.deltas import adapter_shapes, delta_of
from kerasft.models.families import FAMILIES
from kerasft.recipe import LoraSettings, PromptSettings
from tests.export.live import VOCABULARY, tiny_tokenizer
from tests.tiny import random_arrays, tiny_config


class ArrayWeights:
    """A `WeightsView` of random arrays with an adapter on all linear layers, or on some."""

    def __init__(
        self,
        family: str,
        *,
        layout: str = "keras",
        rank: int = 2,
        alpha: float | None = 4,
        targets: list[str] | None = None,
        base_dtype: str = "float32",
        preset: str = "",
        size: float = 0.3,
        seed: int = 0,
    ) -> None:
        self.family = FAMILIES[family]
        self.config: dict[str, Any] = tiny_config(family) | {"vocabulary_size": VOCABULARY}
        self.tokenizer = tiny_tokenizer(family)
        turns = "llama3" if family == "llama3" else "gemma"
        self.template = template_for(PromptSettings(template=turns), "text_to_sql")
        self.base_dtype = base_dtype
        self.base_id = f"/home/someone/models/tiny-{family}"
        self.preset = preset or self.base_id
        self.fingerprint = "0" * 64
        self.lora_settings = LoraSettings(
            layout=layout,
            rank=rank,
            alpha=alpha,
            target_layers=targets or list(self.family.targets),
        )
        self.specs = {spec.name: spec for spec in self.family.tensors(self.config)}
        self.arrays = random_arrays(family, self.config, seed)
        random = np.random.default_rng(seed + 1)
        self.tensors = {
            f"{spec.name.removesuffix('kernel')}{part}": (
                size * random.standard_normal(shape)
            ).astype(np.float32)
            for spec in self.specs.values()
            if spec.target in self.lora_settings.target_layers
            for part, shape in zip("ab", adapter_shapes(spec, self.lora_settings), strict=True)
        }

    def base_array(self, spec: Any) -> np.ndarray:
        return self.arrays[spec.name].astype(numpy_dtype(self.base_dtype))

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        return dict(self.tensors)

    def delta(self, name: str) -> np.ndarray | None:
        return delta_of(self.specs[name], self.tensors, self.lora_settings)
