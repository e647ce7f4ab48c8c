"""A base model with its adapter, ready to answer: from a run, or a bare base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kerasft.data.prompts import Template, stop_ids
from kerasft.data.tokens import Tokenizer
from kerasft.engine.decode import Decoder, Sampling
from kerasft.engine.device import resolve_dtype
from kerasft.models import adapter as adapters
from kerasft.models.deltas import kernel_delta
from kerasft.models.families import Family, TensorSpec
from kerasft.models.gguf import numpy_dtype
from kerasft.models.lora import Lora, attach
from kerasft.models.lora_start import adapter_to_start_from
from kerasft.models.sources import BaseModel, load_base
from kerasft.recipe import LoraSettings
from kerasft.runs import RunFolder


@dataclass
class LoadedModel:
    """A live model; `export` reads it, `generate` and `eval` ask it.

    Attributes:
        causal_lm: the KerasHub causal LM.
        family: its table of tensors.
        config: its KerasHub backbone config.
        tokenizer: of the base.
        template: the prompt template that it was trained with.
        lora: the adapter; None for a bare base.
        adapter: the adapter's description; None for a bare base.
        base_dtype: type that the base's weights are rounded to here.
        base_id, fingerprint, preset: which base it is.
        task: of the rows that it was trained on.
        wrapped: whether the base's checkpoint holds the text model inside another one.
    """

    causal_lm: keras.Model
    family: Family
    config: dict
    tokenizer: Tokenizer
    template: Template
    lora: Lora | None
    adapter: adapters.AdapterInfo | None
    base_dtype: str
    base_id: str
    fingerprint: str
    preset: str
    task: str
    wrapped: bool = False

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.causal_lm, self.family, self.lora)
        self._specs = {spec.name: spec for spec in self.family.tensors(self.config)}

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the template's stop and the tokenizer's EOS."""
        return stop_ids(self.template, self.tokenizer)

    @property
    def lora_settings(self) -> LoraSettings | None:
        """Of the adapter; None for a bare base."""
        return None if self.lora is None else self.lora.settings

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        """A base tensor in its KerasHub shape and `base_dtype`."""
        array = keras.ops.convert_to_numpy(spec.variable(self.causal_lm.backbone))
        return array.astype(numpy_dtype(self.base_dtype), copy=False)

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        """A and B by layer path: `PATH/a` and `PATH/b`, float32; empty for a bare base."""
        return {} if self.lora is None else self.lora.tensors()

    def delta(self, name: str) -> np.ndarray | None:
        """What the adapter adds to a kernel, by its canonical tensor name; None if nothing."""
        path = name.removesuffix("/kernel")
        if self.lora is None or path not in self.lora.layers:
            return None
        layer = self.lora.layers[path]
        a, b = (keras.ops.convert_to_numpy(variable) for variable in (layer.a, layer.b))
        return kernel_delta(self._specs[name], a, b, self.lora.settings)

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        """(rows, length) int32 → (rows, length, vocabulary) float32, with the adapter."""
        return self.decoder.sequence_logits(token_ids)

    def base_logits(self, token_ids: np.ndarray) -> np.ndarray:
        """The same without the adapter."""
        if self.lora is None:
            return self.logits(token_ids)
        with self.lora.disabled():
            return self.logits(token_ids)

    def generate(
        self,
        prompt: str,
        *,
        context: str = "",
        max_new_tokens: int = 128,
        sampling: Sampling | None = None,
    ) -> str:
        """The answer to one prompt, in the template that the model was trained with.

        Args:
            prompt: the question or instruction.
            context: the schema or passage that belongs to it.
            max_new_tokens: tokens at the most.
            sampling: greedy where not given.
        """
        from kerasft.generation import prompt_row, stream

        row = prompt_row(self, prompt, context)
        pieces = stream(self, row, max_new_tokens=max_new_tokens, sampling=sampling)
        return "".join(pieces).strip()

    def generate_ids(
        self, prompt_ids: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations, without the prompt and the stop token."""
        return self.decoder.generate(
            prompt_ids, max_new_tokens=max_new_tokens, stop_ids=stop_ids, sampling=Sampling()
        )


def load_run(path: str | Path, *, dtype: str | None = None) -> LoadedModel:
    """The model of a run: its base, with its adapter on it.

    Args:
        path: a run folder.
        dtype: of the base; the run's own where not given.

    Raises:
        RunError: it is not a run folder, or has no adapter yet.
        AdapterError: the base is not the one that the adapter was trained on.
    """
    run = RunFolder.open(Path(path))
    return with_adapter(run.adapter, dtype=dtype)


def with_adapter(folder: Path, *, dtype: str | None = None) -> LoadedModel:
    """The model of an adapter folder. Errors as `load_run`."""
    info = adapters.read_info(folder)
    tensors = adapters.read_tensors(folder)
    base = load_base(info.preset, dtype=dtype or info.dtype)
    adapters.check_base(
        info, family=base.family.name, fingerprint=base.fingerprint, preset=info.preset
    )
    lora = attach(base.causal_lm, base.family, info.lora, seed=0)
    lora.assign(tensors)
    return _loaded(base, Template.from_dict(info.template), dtype or info.dtype, lora, info)


def load_bare(preset: str, template: Template, task: str, *, dtype: str = "auto") -> LoadedModel:
    """A base model without an adapter, prompted by the template of a task."""
    dtype = resolve_dtype(dtype)
    return _loaded(load_base(preset, dtype=dtype), template, dtype, None, None, task)


def start_adapter(base: BaseModel, lora: Lora, source: str) -> None:
    """Begin training from an adapter: ours (run or folder), or PEFT's.

    Raises:
        AdapterError: another base, other LoRA settings, or tensors that do not fit.
    """
    tensors = adapter_to_start_from(
        source,
        base.family,
        base.config,
        lora.settings,
        fingerprint=base.fingerprint,
        preset=base.preset,
    )
    lora.assign(tensors)


def _loaded(
    base: BaseModel,
    template: Template,
    dtype: str,
    lora: Lora | None,
    info: adapters.AdapterInfo | None,
    task: str = "",
) -> LoadedModel:
    return LoadedModel(
        causal_lm=base.causal_lm,
        family=base.family,
        config=dict(base.config),
        tokenizer=base.tokenizer,
        template=template,
        lora=lora,
        adapter=info,
        base_dtype=dtype,
        base_id=base.base_id,
        fingerprint=base.fingerprint,
        preset=base.preset,
        task=info.task if info else task,
    )
