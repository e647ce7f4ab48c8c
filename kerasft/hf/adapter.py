"""PEFT's LoRA on a base, with our starting values, and its A and B under our names.

PEFT's A is (rank, in) and its B (out, rank); ours in the `peft` layout are their transposes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from kerasft.errors import AdapterError, collected
from kerasft.hf.base import HfBase
from kerasft.hf.models import with_lora
from kerasft.models.families import Family
from kerasft.models.lora_start import (
    adapter_to_start_from,
    path_of,
    starting_tensors,
    targeted,
)
from kerasft.recipe import LoraSettings

ADAPTER = "default"
"""What PEFT calls the only adapter of a model."""


def attach(base: HfBase, settings: LoraSettings, seed: int) -> PeftModel:
    """Freeze a base and put an adapter with our starting values on its blocks, in float32.

    Args:
        base: its model is changed in place.
        settings: of the `peft` layout.
        seed: of A.

    Raises:
        AdapterError: the layout is another one.
    """
    if settings.layout != "peft":
        raise AdapterError(
            f"lora.layout is {settings.layout}, which PEFT cannot train: its copies of a B that "
            "heads share would part at the first update. Add --set lora.layout=peft"
        )
    model = with_lora(
        base.model,
        base.family,
        base.config,
        rank=settings.rank,
        alpha=settings.scale * settings.rank,
        dropout=settings.dropout,
        targets=settings.target_layers,
    )
    start = starting_tensors(base.family, base.config, settings, seed)
    assign(model, base.family, base.config, start)
    return model


def start_from(model: PeftModel, base: HfBase, settings: LoraSettings) -> None:
    """Begin with the adapter that `init_from` names, where it names one.

    Raises:
        AdapterError: another base, other LoRA settings, or tensors that do not fit.
    """
    if settings.init_from:
        tensors = adapter_to_start_from(
            settings.init_from,
            base.family,
            base.config,
            settings,
            fingerprint=base.fingerprint,
            preset=base.preset,
        )
        assign(model, base.family, base.config, tensors)


def variables(
    model: PeftModel, family: Family, config: Mapping[str, Any]
) -> dict[str, torch.nn.Parameter]:
    """`PATH/a` and `PATH/b` → the parameter of PEFT that holds its transpose, in model order."""
    held = dict(model.named_parameters())
    found = {}
    for spec in targeted(family, config, family.targets):
        module = f"base_model.model.{spec.hf.removesuffix('.weight')}"
        for name, side in (("a", "lora_A"), ("b", "lora_B")):
            parameter = held.get(f"{module}.{side}.{ADAPTER}.weight")
            if parameter is not None:
                found[f"{path_of(spec)}/{name}"] = parameter
    return found


def tensors(model: PeftModel, family: Family, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A and B as float32 arrays in our names and shapes."""
    return {
        name: np.ascontiguousarray(parameter.detach().float().cpu().numpy().T)
        for name, parameter in variables(model, family, config).items()
    }


def assign(
    model: PeftModel,
    family: Family,
    config: Mapping[str, Any],
    values: Mapping[str, np.ndarray],
) -> None:
    """Set every A and B.

    Args:
        values: as `tensors` gives them; all of them, and no others.

    Raises:
        AdapterError: every missing, unknown and misshapen tensor, at once.
    """
    targets = variables(model, family, config)
    faults = [f"{name} is missing" for name in targets if name not in values]
    faults += [f"{name} belongs to no layer" for name in values if name not in targets]
    faults += [
        f"{name} has shape {tuple(values[name].shape)}, expected {tuple(parameter.T.shape)}"
        for name, parameter in targets.items()
        if name in values and tuple(values[name].shape) != tuple(parameter.T.shape)
    ]
    if faults:
        raise AdapterError(collected("the adapter does not fit this model", faults))
    with torch.no_grad():
        for name, parameter in targets.items():
            parameter.copy_(torch.from_numpy(np.array(values[name].T, np.float32)))
