"""A run's weights from its files: the base tensor by tensor, the adapter whole.

No model is built, so that a merge needs memory for one tensor. `answering` builds the
live model of the same weights, for the proof by logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.data.prompts import Template
from kerasft.models import adapter as adapters
from kerasft.models.deltas import check_adapter, delta_of
from kerasft.models.families import Family, TensorSpec
from kerasft.models.sources import open_base
from kerasft.recipe import LoraSettings
from kerasft.runs import RunFolder

if TYPE_CHECKING:
    from kerasft.data.tokens import Tokenizer
    from kerasft.engine.loaded import LoadedModel
    from kerasft.models.opened import Opened


@dataclass(frozen=True)
class TrainedWeights:
    """A `WeightsView` of files.

    What was trained on is the base in the dtype that it had in training: a quantised
    base is what it was dequantised to, rounded to that dtype.

    Attributes:
        opened: the base.
        info: the adapter's description.
        tensors: A and B by layer path, float32.
        tokenizer: of the base.
        template: the prompt template that the adapter was trained with.
    """

    opened: Opened
    info: adapters.AdapterInfo
    tensors: dict[str, np.ndarray]
    tokenizer: Tokenizer
    template: Template

    @property
    def family(self) -> Family:
        return self.opened.family

    @property
    def config(self) -> dict[str, Any]:
        return self.opened.config

    @property
    def base_dtype(self) -> str:
        return self.info.dtype

    @property
    def base_id(self) -> str:
        return self.info.base_id

    @property
    def fingerprint(self) -> str:
        return self.info.fingerprint

    @property
    def preset(self) -> str:
        return self.info.preset

    @property
    def wrapped(self) -> bool:
        return self.opened.wrapped

    @property
    def lora_settings(self) -> LoraSettings:
        return self.info.lora

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        """A base tensor in its KerasHub shape and `base_dtype`."""
        return self.opened.read(spec, self.base_dtype)

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        """A and B by layer path: `PATH/a` and `PATH/b`, float32."""
        return dict(self.tensors)

    def delta(self, name: str) -> np.ndarray | None:
        """What training added to a base tensor, float32 in the KerasHub shape, or None."""
        spec = self._specs.get(name)
        return None if spec is None else delta_of(spec, self.tensors, self.lora_settings)

    @cached_property
    def _specs(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.opened.specs}


def open_trained(run: Path) -> TrainedWeights:
    """The weights of a run, its base checked and not loaded.

    Raises:
        RunError: it is not a run folder.
        ModelError: the base cannot be opened.
        AdapterError: there is no adapter yet, it does not fit, or the base is not the
            one that it was trained on.
    """
    folder = RunFolder.open(run).adapter
    info = adapters.read_info(folder)
    tensors = adapters.read_tensors(folder)
    opened, _ = open_base(info.preset)
    adapters.check_base(
        info,
        family=opened.family.name,
        fingerprint=opened.fingerprint(info.dtype),
        preset=info.preset,
    )
    check_adapter(opened.specs, tensors, info.lora)
    return TrainedWeights(
        opened, info, tensors, opened.load_tokenizer(), Template.from_dict(info.template)
    )


def answering(weights: TrainedWeights) -> LoadedModel:
    """The live model of these weights, which computes in float32.

    Rounding in the forward pass would hide what a merge does, so nothing is rounded but
    the base's weights, to the dtype that they had in training. The backend must have
    been selected.
    """
    from kerasft.engine.loaded import LoadedModel
    from kerasft.models.lora import attach
    from kerasft.models.weights import fill

    family = weights.family
    causal_lm = family.build(weights.config, "float32")
    fill(
        causal_lm.backbone,
        weights.opened.specs,
        lambda spec: weights.base_array(spec).astype(np.float32, copy=False),
    )
    lora = attach(causal_lm, family, weights.lora_settings, seed=0)
    lora.assign(weights.tensors)
    return LoadedModel(
        causal_lm=causal_lm,
        family=family,
        config=weights.config,
        tokenizer=weights.tokenizer,
        template=weights.template,
        lora=lora,
        adapter=weights.info,
        base_dtype=weights.base_dtype,
        base_id=weights.base_id,
        fingerprint=weights.fingerprint,
        preset=weights.preset,
        task=weights.info.task,
        wrapped=weights.wrapped,
    )
