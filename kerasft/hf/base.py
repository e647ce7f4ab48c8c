"""A base model in transformers, from whatever preset a recipe names.

The weights come through the family's table, tensor by tensor, from the files that Keras
would load: no other checkpoint is downloaded and no folder is written on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedModel
from transformers.utils import logging

from kerasft.data.tokens import Tokenizer
from kerasft.errors import ModelError, collected
from kerasft.hf.models import attention_for, device
from kerasft.models.families import Family, TensorSpec
from kerasft.models.fingerprint import fingerprint, hf_positions
from kerasft.models.opened import Opened
from kerasft.models.sources import check_dtype, enough_memory, open_base
from kerasft.models.weights import as_torch


@dataclass(frozen=True)
class HfBase:
    """A loaded base model; the same facts as `kerasft.models.sources.BaseModel`.

    Attributes:
        model: of transformers, on `device()`, frozen by nobody yet.
        family, config: its table and its KerasHub backbone arguments.
        tokenizer: text to ids, kerasft's own.
        preset: the string that it was asked for by.
        base_id: what it is called in adapters and cards.
        dtype: type of the weights in memory.
        fingerprint: of the live weights; see `kerasft.models.fingerprint`.
        licence, licence_page: the terms and where they are.
        files: the files that it came from.
        attention: transformers' implementation.
    """

    model: PreTrainedModel
    family: Family
    config: dict[str, Any]
    tokenizer: Tokenizer
    preset: str
    base_id: str
    dtype: str
    fingerprint: str
    licence: str
    licence_page: str
    files: tuple[Path, ...]
    attention: str


def load_base(
    preset: str, dtype: str, attention: str | None = None, tokenizer: Tokenizer | None = None
) -> HfBase:
    """Load a base model; download it first if it must.

    Args:
        preset: as a recipe has it.
        dtype: `bfloat16`, `float32` or `float16`: type of weights and arithmetic.
        attention: transformers' implementation; the fastest one that is right where not given.
        tokenizer: the base's, where `kerasft.models.sources.load_tokenizer` has read it before.

    Raises:
        ModelError: there is no such model, it cannot be downloaded, its files are damaged,
            unsafe or of another family, or transformers has no place for a tensor.
        OutOfMemory: the weights do not fit the device.
    """
    opened, base_id = open_base(preset)
    check_dtype(dtype, opened.family)
    tokenizer = tokenizer or opened.load_tokenizer()
    config = opened.family.hf_config(
        opened.config,
        dtype=dtype,
        bos_id=tokenizer.bos_id,
        eos_ids=[tokenizer.eos_id],
        pad_id=tokenizer.pad_id,
    )
    attention = attention or attention_for(config)
    with enough_memory(preset, dtype):
        model = _filled(opened, config, dtype, attention).to(device())
    return HfBase(
        model=model,
        family=opened.family,
        config=dict(opened.config),
        tokenizer=tokenizer,
        preset=preset,
        base_id=base_id,
        dtype=dtype,
        fingerprint=fingerprint(opened.specs, _reader(model)),
        licence=opened.family.licence,
        licence_page=opened.family.licence_page,
        files=opened.files,
        attention=attention,
    )


def _filled(
    opened: Opened, config: Mapping[str, Any], dtype: str, attention: str
) -> PreTrainedModel:
    """transformers' model of a config with the weights in it, on the CPU."""
    weights = {spec.hf: as_torch(spec.to_hf(opened.read(spec, dtype))) for spec in opened.specs}
    settings = AutoConfig.for_model(**config)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, found = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)].from_pretrained(
            None,
            config=settings,
            state_dict=weights,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            output_loading_info=True,
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    faults = [
        f"{kind}: {name}" for kind, names in found.items() for name in sorted(map(str, names))
    ]
    if faults:
        raise ModelError(collected("transformers cannot take these weights as they are", faults))
    return model


def _reader(model: PreTrainedModel) -> Any:
    """Sampled values of the live weights, for the fingerprint; only they leave the device."""
    weights = dict(model.named_parameters(remove_duplicate=False))

    def read(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        places = torch.from_numpy(hf_positions(spec, at)).to(weights[spec.hf].device)
        return weights[spec.hf].detach().flatten()[places].float().cpu().numpy()

    return read
