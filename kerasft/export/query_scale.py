"""A model whose queries KerasHub scales otherwise than its config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kerasft.data.prompts import Template
    from kerasft.data.tokens import Tokenizer
    from kerasft.export.views import WeightsView
    from kerasft.models.families import Family, TensorSpec
    from kerasft.recipe import LoraSettings

SCALED = (
    "KerasHub divides queries by the root of the head width whatever its config says, where "
    "this model divides by the root of hidden / heads: the factor is in the weights of the "
    "queries."
)


def as_kerashub_scales(weights: WeightsView) -> WeightsView:
    """The weights with which KerasHub's Gemma blocks compute this model.

    KerasHub 0.32 passes `query_head_dim_normalize=True` to every block, so that the queries
    of a model that divides by √(hidden / heads) come out too small or too large. The factor
    between the two goes into the query kernel or, where the queries are normalised after
    it, into their norm: (1 + scale) · factor − 1.
    """
    if weights.config.get("query_head_dim_normalize", True):
        return weights
    config = weights.config
    factor = (config["head_dim"] * config["num_query_heads"] / config["hidden_dim"]) ** 0.5
    normed = config.get("use_query_key_norm", False)
    return ScaledQueries(weights, np.float32(factor), normed)


@dataclass(frozen=True)
class ScaledQueries:
    """A `WeightsView` whose queries are larger by a factor.

    Attributes:
        weights: the view below.
        factor: of the queries.
        normed: whether they are normalised, so that the norm must carry the factor.
    """

    weights: WeightsView
    factor: np.float32
    normed: bool

    @property
    def family(self) -> Family:
        return self.weights.family

    @property
    def config(self) -> dict[str, Any]:
        return self.weights.config | {"query_head_dim_normalize": True}

    @property
    def tokenizer(self) -> Tokenizer:
        return self.weights.tokenizer

    @property
    def template(self) -> Template:
        return self.weights.template

    @property
    def base_dtype(self) -> str:
        return self.weights.base_dtype

    @property
    def base_id(self) -> str:
        return self.weights.base_id

    @property
    def fingerprint(self) -> str:
        return self.weights.fingerprint

    @property
    def preset(self) -> str:
        return self.weights.preset

    @property
    def lora_settings(self) -> LoraSettings | None:
        return self.weights.lora_settings

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        """Of the view below: A and B without the factor."""
        return self.weights.adapter_tensors()

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        """Float32 where the factor is in it, else as the view below gives it."""
        array = self.weights.base_array(spec)
        if not self._carries(spec.name):
            return array
        array = array.astype(np.float32)
        return (array + 1) * self.factor - 1 if self.normed else array * self.factor

    def delta(self, name: str) -> np.ndarray | None:
        """Float32 in the KerasHub shape, times the factor where the kernel carries it."""
        delta = self.weights.delta(name)
        return delta * self.factor if delta is not None and self._carries(name) else delta

    def _carries(self, name: str) -> bool:
        return name.endswith("/query_norm/scale" if self.normed else "/query/kernel")
