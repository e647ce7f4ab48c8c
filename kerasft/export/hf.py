"""A merged model as a Hugging Face folder, written and read tensor by tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasft.errors import ExportError, ModelError
from kerasft.export.fast_tokenizer import tokenizer_files
from kerasft.export.merging import Merger
from kerasft.export.safetensors_writer import SHARD_BYTES, Slot, write_weights
from kerasft.export.stored import coarsest
from kerasft.export.views import stop_ids
from kerasft.export.written import Written, files_of
from kerasft.models.safetensors_files import SafetensorsFiles
from kerasft.models.weights import without_padding

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec

FLOAT16_OVERFLOWS = frozenset({"gemma3"})
"""Families whose activations leave float16's range (transformers issue 36822)."""

_DERIVED = ("lm_head.weight", "rotary_emb.inv_freq")
"""Tensors that some programs store and loaders take from others: a tied head, frequencies."""


def write_hf(
    weights: WeightsView, out: Path, *, dtype: str, shard_bytes: int = SHARD_BYTES
) -> Written:
    """Write weights, configuration, tokenizer and chat template into a folder.

    Each tensor is base + delta in float32, cast once, and needs memory for itself
    alone. A tied embedding is one tensor.

    Args:
        weights: the base and its adapter.
        out: an existing empty folder.
        dtype: of the weights.
        shard_bytes: the largest weight file, in bytes.

    Raises:
        ExportError: the dtype is unknown or cannot hold the model, a weight is not
            finite, or the tokenizer cannot be written for transformers.
    """
    merger = Merger(weights, dtype)
    if dtype == "float16" and weights.family.name in FLOAT16_OVERFLOWS:
        raise ExportError(
            f"{weights.family.name} overflows when it runs in float16. Export it with "
            "--dtype bfloat16, or --dtype float32."
        )
    small = {"config.json": _config(weights, dtype), **tokenizer_and_generation(weights)}
    for name, content in small.items():
        (out / name).write_bytes(content)
    specs = weights.family.tensors(weights.config)
    slots = [
        Slot(name=spec.hf, shape=spec.hf_shape, read=lambda spec=spec: merger.hf(spec))
        for spec in specs
    ]
    write_weights(out, slots, dtype, limit=shard_bytes)
    merger.finish()
    return Written(
        files=files_of(out),
        dtype=dtype,
        tensors=len(specs),
        merged=len(merger.merged),
        parameters=sum(spec.size for spec in specs),
    )


class StoredHf:
    """The weights of a Hugging Face folder, ours or one made elsewhere."""

    def __init__(self, folder: Path, weights: WeightsView) -> None:
        self._weights = weights
        self._config = json.loads((folder / "config.json").read_bytes())
        self._files = SafetensorsFiles(folder)
        specs = weights.family.tensors(weights.config)
        known = self._files.__contains__
        self._names = {spec.name: weights.family.hf_name(spec, known) for spec in specs}
        self.dtype = coarsest({self._dtype(name) for name in self._files.names})

    def tensor(self, spec: TensorSpec) -> np.ndarray | None:
        """The stored values in the KerasHub shape."""
        name = self._names[spec.name]
        if name not in self._files:
            return None
        array = without_padding(spec, self._files.read(name))
        return spec.from_hf(array) if array.shape == spec.hf_shape else None

    def dtype_of(self, spec: TensorSpec) -> str:
        """The type that this tensor is stored in."""
        return self._dtype(self._names[spec.name])

    def faults(self) -> list[str]:
        """Settings that differ, and tensors that the model does not have."""
        names = set(self._files.names) - set(self._names.values())
        extra = sorted(name for name in names if not name.endswith(_DERIVED))
        if not extra:
            return self._config_faults()
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        return [
            *self._config_faults(),
            f"tensors that the model does not have: {', '.join(extra[:5])}{more}",
        ]

    def _config_faults(self) -> list[str]:
        weights, kind = self._weights, self._config.get("model_type")
        if kind not in weights.family.model_types:
            return [f"config.json says model_type {kind!r}; the model is {weights.family.name}"]
        try:
            found = weights.family.config_from_hf(self._config)
        except ModelError as error:
            return [str(error)]
        return [
            f"config.json gives {key} = {found[key]!r}; it was trained with {value!r}"
            for key, value in weights.config.items()
            if key in found and found[key] != value
        ]

    def _dtype(self, name: str) -> str:
        dtype = self._files.dtype(name)
        return "float32" if dtype == "float64" else dtype  # computed in float32 all the same


def stored_hf(folder: Path, weights: WeightsView) -> StoredHf:
    """The weights of a Hugging Face folder.

    Raises:
        ModelError: a file is missing or damaged.
    """
    return StoredHf(folder, weights)


def tokenizer_and_generation(weights: WeightsView) -> dict[str, bytes]:
    """File name → content: tokenizer, chat template and generation_config.json.

    Raises:
        ExportError: the tokenizer cannot be written for transformers.
    """
    tokenizer = weights.tokenizer
    generation = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stop_ids(weights),
        "pad_token_id": tokenizer.pad_id,
        "do_sample": False,
    }
    return {
        "generation_config.json": _json(generation),
        **tokenizer_files(
            tokenizer.files(),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            special=tokenizer.special_ids,
            chat_template=weights.template.chat_template(),
            max_length=weights.family.max_positions(weights.config),
        ),
    }


def _config(weights: WeightsView, dtype: str) -> bytes:
    tokenizer = weights.tokenizer
    return _json(
        weights.family.hf_config(
            weights.config,
            dtype=dtype,
            bos_id=tokenizer.bos_id,
            eos_ids=stop_ids(weights),
            pad_id=tokenizer.pad_id,
        )
    )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
