"""The HDF5 files that Keras keeps weights in, one tensor in memory at a time.

`kerasft.models.keras_files` says how they are laid out, and reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.models.keras_files import INDEX, SINGLE, group_of

if TYPE_CHECKING:
    from kerasft.export.merging import Merger
    from kerasft.models.families import Family, TensorSpec

SHARD_BYTES = 10 << 30
"""The largest weight file, in bytes: KerasHub's own limit."""


def write_weights(
    out: Path,
    family: Family,
    specs: Sequence[TensorSpec],
    merger: Merger,
    *,
    limit: int = SHARD_BYTES,
) -> None:
    """Write `model.weights.h5`, or shards and `model.weights.json`.

    Args:
        out: an existing folder.
        family: whose table names the layers.
        specs: the tensors.
        merger: gives each tensor once, in the dtype of the file.
        limit: bytes of tensors a shard at most; a layer is never cut in two.
    """
    layers: dict[str, list[TensorSpec]] = {}
    for spec in specs:
        layers.setdefault(group_of(family, spec), []).append(spec)
    item = numpy_dtype(merger.dtype).itemsize
    sizes = {group: item * sum(spec.size for spec in held) for group, held in layers.items()}
    total = sum(sizes.values())
    shards = _shards(sizes, limit)
    names = (
        [SINGLE] if len(shards) == 1 else [f"model_{n:05}.weights.h5" for n in range(len(shards))]
    )
    for name, shard in zip(names, shards, strict=True):
        _write_shard(out / name, {group: layers[group] for group in shard}, merger)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": float(total)},
            "weight_map": {
                f"/{group}": name
                for name, shard in zip(names, shards, strict=True)
                for group in shard
            },
        }
        (out / INDEX).write_text(json.dumps(index, indent=4), encoding="utf-8")


def _shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Layers in their order, cut into shards of at most `limit` bytes; a larger one is alone."""
    shards: list[list[str]] = []
    room = 0
    for group, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = limit
        shards[-1].append(group)
        room -= size
    return shards


def _write_shard(file: Path, layers: Mapping[str, Sequence[TensorSpec]], merger: Merger) -> None:
    import h5py

    with h5py.File(file, "w") as store:
        for group, specs in layers.items():
            place = store.create_group(group)
            for number, spec in enumerate(specs):
                data = place.create_dataset(str(number), data=merger.keras(spec))
                if merger.dtype == "bfloat16":  # HDF5 has no such type: two opaque bytes
                    data.attrs["dtype"] = "bfloat16"
