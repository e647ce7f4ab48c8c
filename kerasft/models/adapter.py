"""Adapter folders, written and read.

`adapter.safetensors` has A and B by canonical layer path, in float32 or, for an adapter
that is to be small, in bfloat16; `adapter.json` has what is needed to put them on a base
again: the base's id and fingerprint, the LoRA settings, and the prompt template that the
model was trained with.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from kerasft.errors import AdapterError, collected
from kerasft.recipe import LoraSettings
from kerasft.records import flush

SCHEMA_VERSION = 1
WEIGHTS = "adapter.safetensors"
DESCRIPTION = "adapter.json"
_FIELDS = ("preset", "base_id", "fingerprint", "family", "dtype", "task", "template", "lora")

STORED_DTYPES = ("float32", "bfloat16")
"""What A and B are stored in. float16 would lose the small entries that B starts from."""


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
        adapter_dtype: that A and B are stored in, of `STORED_DTYPES`.
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
    adapter_dtype: str = "float32"
    schema_version: int = field(default=SCHEMA_VERSION)


def save(
    folder: Path, tensors: Mapping[str, np.ndarray], info: AdapterInfo, dtype: str = "float32"
) -> None:
    """Write an adapter folder beside its place, then put it there.

    The one that was there is moved away first. A kill between the two moves leaves both
    beside the place, and `recover` finishes it.

    Args:
        folder: replaced as a whole if it is there.
        tensors: `PATH/a` and `PATH/b` float32, as `Lora.tensors` gives them.
        info: goes into adapter.json, with `adapter_dtype` as it is written.
        dtype: of the file, of `STORED_DTYPES`; bfloat16 rounds to nearest.

    Raises:
        AdapterError: the dtype is another one, or it cannot be written; what was there
            before stays.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    aside, former = _beside(folder, "tmp"), _beside(folder, "old")
    stored = _stored_dtype(dtype)
    arrays = {name: np.ascontiguousarray(value, stored) for name, value in tensors.items()}
    description = {**asdict(info), "lora": info.lora.model_dump(), "adapter_dtype": dtype}
    try:
        recover(folder)
        aside.mkdir(parents=True)
        save_file(arrays, aside / WEIGHTS)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (aside / DESCRIPTION).write_text(text, "utf-8")
        for path in (aside / WEIGHTS, aside / DESCRIPTION, aside):
            flush(path)
        if folder.exists():
            folder.rename(former)
        aside.rename(folder)
        flush(folder.parent)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own
        if former.exists() and not folder.exists():
            former.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise AdapterError(
            f"{folder} could not be written ({error}); free space, then save it again"
        ) from error
    shutil.rmtree(former, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finish, or undo, what a kill left half done of `save`.

    For the process that writes the folder, and no other. The new one is complete if the
    old one has been moved away, which happens last.
    """
    aside, former = _beside(folder, "tmp"), _beside(folder, "old")
    if former.exists() and not folder.exists():
        (aside if aside.exists() else former).rename(folder)
    for left in (aside, former):
        shutil.rmtree(left, ignore_errors=True)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


def _stored_dtype(name: str) -> np.dtype:
    if name not in STORED_DTYPES:
        raise AdapterError(
            f"an adapter is stored in {' or '.join(STORED_DTYPES)}, got {name!r}; give one of them"
        )
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def read_info(folder: Path) -> AdapterInfo:
    """The description of an adapter folder.

    Raises:
        AdapterError: it is not one, or its description lacks fields.
    """
    path = folder / DESCRIPTION
    description = read_description(
        path,
        f"{folder} is not an adapter folder: it has no {DESCRIPTION}. Give a run, or the "
        "adapter/ folder of one",
    )
    faults = [f"{name} is missing" for name in _FIELDS if name not in description]
    if description.get("schema_version") != SCHEMA_VERSION:
        faults.append(
            f"schema_version is {description.get('schema_version')}, this kerasft reads "
            f"{SCHEMA_VERSION}"
        )
    lora = lora_settings(description.get("lora"), faults) if "lora" in description else None
    if lora is None or faults:
        raise AdapterError(collected(f"{path} cannot be used", faults))
    known = {name: description[name] for name in _FIELDS if name != "lora"}
    return AdapterInfo(
        **known,
        lora=lora,
        step=int(description.get("step", 0)),
        # Folders written before it was noted are float32.
        adapter_dtype=description.get("adapter_dtype", "float32"),
    )


def read_description(path: Path, missing: str) -> dict[str, Any]:
    """The JSON object that describes an adapter.

    Args:
        path: of the file.
        missing: what to say when there is none.

    Raises:
        AdapterError: it is missing, damaged, or no object.
    """
    try:
        description = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise AdapterError(missing) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"{path} is not JSON ({error}); take the adapter from its run again"
        ) from error
    if not isinstance(description, dict):
        raise AdapterError(f"{path} holds no JSON object; take the adapter from its run again")
    return description


def lora_settings(values: Any, faults: list[str]) -> LoraSettings | None:
    """The settings, or None and a fault for each value that is none."""
    try:
        return LoraSettings.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            place = ".".join(["lora", *map(str, fault["loc"])])
            faults.append(f"{place}: {fault['msg']}")
        return None


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """A and B of an adapter folder, float32 whatever they are stored in.

    Raises:
        AdapterError: the file is missing or damaged.
    """
    stored = read_stored(folder / WEIGHTS)
    return {name: array.astype(np.float32, copy=False) for name, array in stored.items()}


def read_stored(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file in the type that it is stored in.

    Raises:
        AdapterError: the file is missing or damaged.
    """
    import ml_dtypes  # noqa: F401 - NumPy knows bfloat16 once it is imported
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

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
