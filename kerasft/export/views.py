"""What an export needs to know of a trained model: weights, words, and answers.

Writers need weights and words alone, which files give (`kerasft.export.trained`); the
proof by logits needs answers too, which a live model gives
(`kerasft.engine.loaded.LoadedModel`). Naming the parts here keeps the export free of
runs, recipes and training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kerasft.data import prompts

if TYPE_CHECKING:
    from kerasft.data.prompts import Template
    from kerasft.data.tokens import Tokenizer
    from kerasft.models.families import Family, TensorSpec
    from kerasft.recipe import LoraSettings


class WeightsView(Protocol):
    """A base and its adapter, tensor by tensor.

    Attributes:
        family: the table of the base's tensors.
        config: the KerasHub backbone config.
        tokenizer: text to ids.
        template: the prompt template.
        base_dtype: the dtype that the base's weights had in training.
        base_id: where the base came from, as the run names it.
        fingerprint: of the base's tensors.
        preset: by which the base is opened.
        wrapped: whether the base's checkpoint holds the text model inside another one.
        lora_settings: of the adapter; None without one.
    """

    family: Family
    config: dict[str, Any]
    tokenizer: Tokenizer
    template: Template
    base_dtype: str
    base_id: str
    fingerprint: str
    preset: str

    @property
    def wrapped(self) -> bool: ...

    @property
    def lora_settings(self) -> LoraSettings | None: ...

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        """A base tensor as it was trained on: KerasHub shape, in `base_dtype`."""

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        """A and B by layer path: `PATH/a` and `PATH/b`, float32."""

    def delta(self, name: str) -> np.ndarray | None:
        """What training added to a base tensor, float32 in the KerasHub shape, or None."""


class ModelView(WeightsView, Protocol):
    """The same, ready to answer."""

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Logits with the adapter: int32 (batch, length) → float32 (batch, length, vocabulary)."""

    def base_logits(self, token_ids: np.ndarray) -> np.ndarray:
        """The same without the adapter."""

    def generate_ids(
        self, prompt_ids: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations, without the prompt, up to a stop id."""


class _Untouched:
    """A view without its adapter; everything else is the view's own."""

    lora_settings = None

    def __init__(self, weights: WeightsView) -> None:
        self._weights = weights

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        return {}

    def delta(self, name: str) -> np.ndarray | None:
        return None


def untouched(weights: WeightsView) -> WeightsView:
    """The base alone, as it was trained on."""
    return _Untouched(weights)


def stop_ids(view: WeightsView) -> list[int]:
    """The ids that end an answer, EOS first, as readers of a single id take the first."""
    eos_id = view.tokenizer.eos_id
    return list(dict.fromkeys([eos_id, *prompts.stop_ids(view.template, view.tokenizer)]))


def attention_window(view: WeightsView) -> int | None:
    """The sliding window in tokens, or None where every layer attends to everything."""
    if "local" not in view.family.block_kinds(view.config):
        return None
    return int(view.config["sliding_window_size"])
