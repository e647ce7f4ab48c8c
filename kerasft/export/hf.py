"""A merged model as a Hugging Face folder, written tensor by tensor."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasft.errors import ExportError, collected
from kerasft.export.fast_tokenizer import tokenizer_files
from kerasft.export.model_view import ModelView, stop_ids
from kerasft.export.safetensors_writer import SHARD_BYTES, Slot, numpy_dtype, write_weights
from kerasft.models.families import TensorSpec

FLOAT16_OVERFLOWS = frozenset({"gemma3"})
"""Families whose activations leave float16's range (transformers issue 36822)."""


@dataclass(frozen=True)
class Written:
    """What `write_hf` left behind.

    Attributes:
        files: file name → bytes.
        dtype: of the weights.
        tensors: number of tensors.
        merged: number of them that a delta was added to.
        parameters: number of values.
    """

    files: dict[str, int]
    dtype: str
    tensors: int
    merged: int
    parameters: int


def write_hf(
    model: ModelView, out: Path, *, dtype: str | None = None, shard_bytes: int = SHARD_BYTES
) -> Written:
    """Write weights, configuration, tokenizer and chat template into a folder.

    Each tensor is base + delta in float32, cast once, and needs memory for itself
    alone. A tied embedding is one tensor.

    Args:
        model: the live model.
        out: an existing empty folder.
        dtype: of the weights, the base's if None.
        shard_bytes: the largest weight file, in bytes.

    Raises:
        ExportError: the dtype is unknown or cannot hold the model, a weight is not
            finite, or the tokenizer cannot be written for transformers.
    """
    dtype = dtype or model.base_dtype
    numpy_dtype(dtype)
    if dtype == "float16" and model.family.name in FLOAT16_OVERFLOWS:
        raise ExportError(
            f"{model.family.name} overflows when it runs in float16. Export it with "
            "--dtype bfloat16, or --dtype float32."
        )
    for name, content in _small_files(model, dtype).items():
        (out / name).write_bytes(content)

    merged: list[str] = []
    faults: list[str] = []
    specs = model.family.tensors(model.config)
    slots = [
        Slot(
            name=spec.hf,
            shape=spec.hf_shape,
            read=lambda spec=spec: _merge(model, spec, dtype, merged, faults),
        )
        for spec in specs
    ]
    write_weights(out, slots, dtype, limit=shard_bytes)
    if faults:
        raise ExportError(collected(f"The merged weights do not fit {dtype}", faults))
    return Written(
        files={file.name: file.stat().st_size for file in sorted(out.iterdir())},
        dtype=dtype,
        tensors=len(specs),
        merged=len(merged),
        parameters=sum(spec.size for spec in specs),
    )


def _merge(
    model: ModelView, spec: TensorSpec, dtype: str, merged: list[str], faults: list[str]
) -> np.ndarray:
    """One tensor in its Hugging Face layout and dtype; notes what was merged and what is wrong."""
    import keras

    target = numpy_dtype(dtype)
    base = keras.ops.convert_to_numpy(spec.variable(model.causal_lm.backbone))
    if np.issubdtype(base.dtype, np.integer):
        raise ExportError(
            f"{spec.name} is quantised ({base.dtype}). Load the run with its unquantised base "
            "to export it."
        )
    delta = model.delta(spec.name)
    if delta is not None:
        if delta.shape != spec.shape:
            raise ExportError(
                f"{spec.name}: expected a delta of shape {spec.shape}, got {delta.shape}."
            )
        base = base.astype(np.float32) + delta.astype(np.float32, copy=False)
        merged.append(spec.name)
    with np.errstate(over="ignore"):  # what overflows is counted and reported below
        array = spec.to_hf(base).astype(target, copy=False)
    wrong = int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        faults.append(f"{spec.name}: {wrong} of {spec.size} values are not finite")
    return array


def _small_files(model: ModelView, dtype: str) -> dict[str, bytes]:
    """File name → content of everything but the weights."""
    tokenizer, family = model.tokenizer, model.family
    stops = stop_ids(model)
    config = family.hf_config(
        model.config,
        dtype=dtype,
        bos_id=tokenizer.bos_id,
        eos_ids=stops,
        pad_id=tokenizer.pad_id,
    )
    generation = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stops,
        "pad_token_id": tokenizer.pad_id,
        "do_sample": False,
    }
    files = tokenizer_files(
        tokenizer.files(),
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        special=tokenizer.special_ids,
        chat_template=model.template.chat_template(),
        max_length=family.max_positions(model.config),
    )
    return {
        "config.json": _json(config),
        "generation_config.json": _json(generation),
        **files,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
