"""What an export needs to know of a live model: weights, words, and answers.

`kerasft.engine.loaded.LoadedModel` is one; naming the parts here keeps the export
free of runs, recipes and training.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from kerasft.data import prompts
from kerasft.data.prompts import Template
from kerasft.data.tokens import Tokenizer
from kerasft.models.families import Family


class ModelView(Protocol):
    """A base model with its adapter, ready to answer.

    Attributes:
        causal_lm: the KerasHub causal LM; its backbone holds the base weights.
        family: the table of the base's tensors.
        config: the KerasHub backbone config.
        tokenizer: text to ids.
        template: the prompt template.
        base_dtype: the dtype of the base's weights here.
        base_id: where the base came from, as the run names it.
        fingerprint: of the base's tensors.
    """

    causal_lm: Any
    family: Family
    config: dict[str, Any]
    tokenizer: Tokenizer
    template: Template
    base_dtype: str
    base_id: str
    fingerprint: str

    def delta(self, name: str) -> np.ndarray | None:
        """What training added to a base tensor, float32 in the KerasHub shape, or None."""

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Logits with the adapter: int32 (batch, length) → float32 (batch, length, vocabulary)."""

    def base_logits(self, token_ids: np.ndarray) -> np.ndarray:
        """The same without the adapter."""

    def generate_ids(
        self, prompt_ids: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations, without the prompt, up to a stop id."""


def stop_ids(model: ModelView) -> list[int]:
    """The ids that end an answer, EOS first, as readers of a single id take the first."""
    eos_id = model.tokenizer.eos_id
    return list(dict.fromkeys([eos_id, *prompts.stop_ids(model.template, model.tokenizer)]))


def attention_window(model: ModelView) -> int | None:
    """The sliding window in tokens, or None where every layer attends to everything."""
    if "local" not in model.family.block_kinds(model.config):
        return None
    return int(model.config["sliding_window_size"])
