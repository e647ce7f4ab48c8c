"""Adapter folders: ours, written and read, and PEFT's, read.

`adapter.safetensors` has A and B by canonical layer path in float32; `adapter.json` has
what is needed to put them on a base again: the base's id and fingerprint, the LoRA
settings, and the prompt template that the model was trained with.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import AdapterError, collected
from kerasft.models.families.base import Family
from kerasft.recipe import LoraSettings

SCHEMA_VERSION = 1
WEIGHTS = "adapter.safetensors"
DESCRIPTION = "adapter.json"
_FIELDS = ("preset", "base_id", "fingerprint", "family", "dtype", "task", "template", "lora")


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter was trained on and how.

    Attributes:
        preset: where the base came from, as the recipe names it.
        base_id: the base's own identity (a hash or a versioned handle).
        fingerprint: of the base's canonical tensors.
        family: of the base.
        dtype: of the base while training.
        task: that the rows were of.
        template: the prompt template, as `Template.to_dict` gives it.
        lora: layout, rank, alpha, dropout and targets.
        step: optimizer step at which it was written.
    """

    preset: str
    base_id: str
    fingerprint: str
    family: str
    dtype: str
    task: str
    template: Mapping[str, Any]
    lora: LoraSettings
    step: int = 0
    schema_version: int = field(default=SCHEMA_VERSION)


def save(folder: Path, tensors: Mapping[str, np.ndarray], info: AdapterInfo) -> None:
    """Write an adapter folder beside its place and put it there in one move.

    Args:
        folder: replaced as a whole if it is there.
        tensors: `PATH/a` and `PATH/b` float32, as `Lora.tensors` gives them.
        info: goes into adapter.json.
    """
    from safetensors.numpy import save_file

    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()}, aside / WEIGHTS
    )
    description = {**asdict(info), "lora": info.lora.model_dump()}
    (aside / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False), "utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old)
    else:
        aside.rename(folder)


def read_info(folder: Path) -> AdapterInfo:
    """The description of an adapter folder.

    Raises:
        AdapterError: it is not one, or its description lacks fields.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise AdapterError(
            f"{folder} is not an adapter folder: it has no {DESCRIPTION}. Give a run, or the "
            "adapter/ folder of one"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"{path} is not JSON ({error}); take the adapter from its run again"
        ) from error
    faults = [f"{name} is missing" for name in _FIELDS if name not in description]
    if description.get("schema_version") != SCHEMA_VERSION:
        faults.append(
            f"schema_version is {description.get('schema_version')}, this kerasft reads "
            f"{SCHEMA_VERSION}"
        )
    if faults:
        raise AdapterError(collected(f"{path} cannot be used", faults))
    known = {name: description[name] for name in _FIELDS if name != "lora"}
    return AdapterInfo(
        **known,
        lora=LoraSettings.model_validate(description["lora"]),
        step=int(description.get("step", 0)),
    )


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """A and B of an adapter folder.

    Raises:
        AdapterError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / WEIGHTS
    try:
        return load_file(path)
    except FileNotFoundError:
        raise AdapterError(f"{path} is missing; the adapter is incomplete") from None
    except SafetensorError as error:
        raise AdapterError(
            f"{path} is damaged ({error}); copy it again or use a checkpoint of the run"
        ) from error


def check_base(info: AdapterInfo, *, family: str, fingerprint: str, preset: str) -> None:
    """Refuse a base that the adapter was not trained on.

    Raises:
        AdapterError: every difference, at once.
    """
    faults = []
    if info.family != family:
        faults.append(f"the adapter is for {info.family}, the base is {family}")
    if info.fingerprint != fingerprint:
        faults.append(
            f"the adapter was trained on a base with fingerprint {info.fingerprint} "
            f"({info.preset}), {preset} has {fingerprint}"
        )
    if faults:
        raise AdapterError(collected("the adapter belongs to another base", faults))


def is_peft(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def read_peft(
    folder: Path, family: Family, config: Mapping[str, Any]
) -> tuple[LoraSettings, dict[str, np.ndarray]]:
    """A PEFT LoRA adapter in our names, for the `peft` layout.

    PEFT keeps A as (rank, in) and B as (out, rank), the transposes of ours.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.
        family: of the base.
        config: the base's KerasHub backbone config.

    Raises:
        AdapterError: it is not a plain LoRA on the decoder's linear layers, or tensors
            and description disagree; all faults at once.
    """
    from safetensors.numpy import load_file

    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    faults = [
        f"{key} is {settings[key]!r}, which kerasft does not read"
        for key in ("rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "modules_to_save")
        if settings.get(key)
    ]
    if settings.get("peft_type") != "LORA":
        faults.append(f"peft_type is {settings.get('peft_type')!r}, expected 'LORA'")
    if settings.get("bias", "none") != "none":
        faults.append(f"bias is {settings['bias']!r}, expected 'none'")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        faults.append("adapter_model.safetensors is missing (pickled .bin adapters are not read)")
    if faults:
        raise AdapterError(collected(f"{folder} cannot be used as a starting adapter", faults))
    stored = load_file(weights)
    tensors: dict[str, np.ndarray] = {}
    targets: list[str] = []
    for spec in family.tensors(config):
        module = f"base_model.model.{spec.hf.removesuffix('.weight')}"
        if spec.target is None or f"{module}.lora_A.weight" not in stored:
            continue
        path = spec.name.removesuffix("/kernel")
        tensors[f"{path}/a"] = stored.pop(f"{module}.lora_A.weight").T.astype(np.float32)
        tensors[f"{path}/b"] = stored.pop(f"{module}.lora_B.weight").T.astype(np.float32)
        if spec.target not in targets:
            targets.append(spec.target)
    if stored or not tensors:
        raise AdapterError(
            collected(
                f"{folder} has tensors that are not LoRA on {family.name}'s linear layers",
                sorted(stored) or ["no LoRA tensor was found"],
            )
        )
    lora = LoraSettings(
        layout="peft",
        rank=settings["r"],
        alpha=settings["lora_alpha"],
        dropout=settings.get("lora_dropout") or 0.0,
        target_layers=targets,
    )
    return lora, tensors
