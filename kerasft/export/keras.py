"""A merged model as a KerasHub preset, written and read tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ExportError, ModelError
from kerasft.export.hf import FLOAT16_OVERFLOWS
from kerasft.export.keras_preset_files import SEQUENCE_LENGTH, small_files
from kerasft.export.keras_weights import SHARD_BYTES, write_weights
from kerasft.export.merging import Merger
from kerasft.export.probes import TEXTS
from kerasft.export.query_scale import SCALED, as_kerashub_scales
from kerasft.export.stored import STORED_DTYPES, Promise, coarsest
from kerasft.export.views import stop_ids
from kerasft.export.written import Written, files_of
from kerasft.models.keras_files import KerasFiles
from kerasft.models.opened import family_and_config, keras_tokenizer, read_config

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec


def write_keras(
    weights: WeightsView, out: Path, *, dtype: str, shard_bytes: int = SHARD_BYTES
) -> Written:
    """Write weights, configs and tokenizer into a folder that `from_preset` loads.

    Each tensor is base + delta in float32, cast once, and needs memory for itself alone.

    Args:
        weights: the base and its adapter.
        out: an existing empty folder.
        dtype: of the weights.
        shard_bytes: the largest weight file, in bytes; a layer is never cut in two.

    Raises:
        ExportError: the dtype is unknown or cannot hold the model, a weight is not
            finite, or KerasHub's tokenizer class cannot hold the tokenizer.
    """
    if dtype == "float16" and weights.family.name in FLOAT16_OVERFLOWS:
        raise ExportError(
            f"{weights.family.name} overflows when it runs in float16. Export it with "
            "--dtype bfloat16, or --dtype float32."
        )
    scaled = as_kerashub_scales(weights)
    merger = Merger(scaled, dtype)
    for name, content in small_files(scaled, dtype).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    specs = weights.family.tensors(weights.config)
    write_weights(out, scaled.family, specs, merger, limit=shard_bytes)
    merger.finish()
    return Written(
        files=files_of(out),
        dtype=dtype,
        tensors=len(specs),
        merged=len(merger.merged),
        parameters=sum(spec.size for spec in specs),
        notes=_notes(weights, dtype, scaled=scaled is not weights),
    )


class StoredKeras:
    """The weights of a KerasHub preset, ours or one made elsewhere."""

    def __init__(self, folder: Path, weights: WeightsView) -> None:
        self._folder = folder
        self._weights = weights
        self._files = KerasFiles(folder, weights.family)
        self._specs = weights.family.tensors(weights.config)
        self.dtype = coarsest({self.dtype_of(spec) for spec in self._specs if self._has(spec)})

    def tensor(self, spec: TensorSpec) -> np.ndarray | None:
        """The stored values; KerasHub shape."""
        return self._files.read(spec) if self._has(spec) else None

    def dtype_of(self, spec: TensorSpec) -> str:
        """The type that this tensor is stored in.

        Raises:
            ModelError: the tensor is missing.
            ExportError: it is quantised.
        """
        kind = self._files.kind(spec)
        kind = "float32" if kind == "float64" else kind  # computed in float32 all the same
        if kind not in STORED_DTYPES:
            raise ExportError(
                f"{self._folder.name} holds {kind} weights; a proof needs float32, bfloat16 or "
                "float16. Export the run to have a preset that is not quantised."
            )
        return kind

    def faults(self) -> list[str]:
        """Settings that differ, in the backbone's config and in the task's, and the tokenizer."""
        faults = self._config_faults("config.json", read_config(self._folder))
        task = self._folder / "task.json"
        if task.is_file():
            # `CausalLM.from_preset` builds the backbone from the copy in here.
            entry = json.loads(task.read_bytes()).get("config", {}).get("backbone")
            faults += self._config_faults("task.json", entry or {})
        return faults + self._tokenizer_faults()

    def _has(self, spec: TensorSpec) -> bool:
        try:
            self._files.kind(spec)
        except ModelError:
            return False
        return True

    def _config_faults(self, name: str, config: Mapping[str, Any]) -> list[str]:
        wanted = as_kerashub_scales(self._weights)
        if "class_name" not in config:
            return [f"{name} names no backbone"]
        try:
            family, found = family_and_config(config)
        except ModelError as error:
            return [f"{name}: {error}"]
        if family.name != wanted.family.name:
            return [f"{name} is of the family {family.name}; the model is {wanted.family.name}"]
        return [
            f"{name} gives {key} = {found[key]!r}; it should be {value!r}"
            for key, value in wanted.config.items()
            if found[key] != value
        ]

    def _tokenizer_faults(self) -> list[str]:
        ours = self._weights.tokenizer
        try:
            theirs = keras_tokenizer(self._folder)
        except ModelError as error:
            return [str(error)]
        faults = [
            f"the folder's tokenizer cuts {text!r} into other tokens"
            for text in TEXTS
            if theirs.encode(text) != ours.encode(text)
        ]
        for name in ("bos_id", "eos_id"):
            found, wanted = getattr(theirs, name), getattr(ours, name)
            if found != wanted:
                faults.append(f"the folder's tokenizer has {name} {found}; it should be {wanted}")
        return faults


def stored_keras(folder: Path, weights: WeightsView) -> StoredKeras:
    """The weights of a preset folder.

    Raises:
        ModelError: a file is missing or damaged.
        ExportError: the weights are quantised.
    """
    return StoredKeras(folder, weights)


def promised_keras(folder: Path, weights: WeightsView) -> Promise:
    """What a preset of these weights holds: see `as_kerashub_scales`."""
    scaled = as_kerashub_scales(weights)
    if scaled is weights:
        return Promise(weights)
    return Promise(scaled, note=SCALED)


def _notes(weights: WeightsView, dtype: str, *, scaled: bool) -> tuple[str, ...]:
    """What a person who loads the preset should know."""
    notes = [
        f"KerasHub loads floats in Keras' own default type: give dtype={dtype!r} to from_preset. "
        f"Prompt and answer share {SEQUENCE_LENGTH} tokens unless generate is given max_length."
    ]
    if weights.family.name == "gemma3":
        notes.append(
            "KerasHub's preprocessor of Gemma 3 needs TensorFlow. Without it, load tokenizer and "
            "model apart: Tokenizer.from_preset, and CausalLM.from_preset with preprocessor=None."
        )
    stops = stop_ids(weights)
    if set(stops) - set(_kerashub_stops(weights)):
        notes.append(
            "KerasHub's generate does not stop where this model was trained to: give it "
            f"stop_token_ids={tuple(stops)}."
        )
    if scaled:
        notes.append(SCALED)
    return tuple(notes)


def _kerashub_stops(weights: WeightsView) -> list[int]:
    """The ids that `generate` stops at of itself (`generate` in causal_lm.py and Gemma 3's)."""
    special, stops = weights.tokenizer.special_ids, [weights.tokenizer.eos_id]
    second = {"gemma3": "<end_of_turn>", "llama3": "<|eot_id|>"}.get(weights.family.name)
    return [*stops, *([special[second]] if second in special else [])]
