"""Safetensors files written one tensor at a time, in shards with an index.

The layout is the published one: eight bytes with the length of a JSON header,
the header, then the tensors in the header's order
(https://huggingface.co/docs/safetensors/index#format). It is written here
rather than through `safetensors.numpy.save_file` because that call wants every
tensor in memory at once, and an export should need room for one.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from kerasft.errors import ExportError, collected

SHARD_BYTES = 5_000_000_000
"""The largest shard, in bytes: what the Hub and transformers have agreed on."""

_CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_NAMES = {code: name for name, code in _CODES.items()}
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Slot:
    """Where one tensor goes: its name and shape in the file, and how to compute it.

    Attributes:
        name: the name in the file.
        shape: the shape in the file.
        read: computes the array in the shape and dtype of the file.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def nbytes(self, dtype: str) -> int:
        return prod(self.shape) * _ITEM_BYTES[dtype]


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of "float32", "bfloat16" (from ml_dtypes) or "float16".

    Raises:
        ExportError: another name.
    """
    if name not in _CODES:
        raise ExportError(f"Expected a dtype of {', '.join(_CODES)}; got {name!r}.")
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def plan_shards(slots: Sequence[Slot], dtype: str, limit: int) -> list[list[Slot]]:
    """Slots in their order, cut into shards of at most `limit` bytes.

    A tensor that is larger than the limit gets a shard of its own.
    """
    shards: list[list[Slot]] = []
    room = 0
    for slot in slots:
        if not shards or slot.nbytes(dtype) > room:
            shards.append([])
            room = limit
        shards[-1].append(slot)
        room -= slot.nbytes(dtype)
    return shards


def write_weights(
    folder: Path, slots: Iterable[Slot], dtype: str, *, limit: int = SHARD_BYTES
) -> list[str]:
    """Write `model.safetensors`, or shards and `model.safetensors.index.json`.

    Args:
        folder: an existing folder.
        slots: the tensors, each name once.
        dtype: of the file: "float32", "bfloat16" or "float16".
        limit: bytes of tensors a shard at most.

    Returns:
        The names of the files written.

    Raises:
        ExportError: a name occurs twice, or an array came with another shape
            or dtype than its slot promised.
    """
    slots = list(slots)
    counts = Counter(slot.name for slot in slots)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ExportError(collected("Tensors with the same name in one file", twice))
    shards = plan_shards(slots, dtype, limit)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shards[0], dtype)
        return ["model.safetensors"]
    files = [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    for file, shard in zip(files, shards, strict=True):
        write_file(folder / file, shard, dtype)
    index = {
        "metadata": {"total_size": sum(slot.nbytes(dtype) for slot in slots)},
        "weight_map": {
            slot.name: file for file, shard in zip(files, shards, strict=True) for slot in shard
        },
    }
    name = "model.safetensors.index.json"
    (folder / name).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [*files, name]


def read_header(file: Path) -> dict[str, dict]:
    """Name → {"dtype": "bfloat16", "shape": [...]} of a safetensors file.

    Raises:
        ExportError: the file is not a safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            raise ExportError(f"{file.name} is not a safetensors file: its header is cut off.")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise ExportError(f"{file.name} is not a safetensors file: {error}.") from None
    header.pop("__metadata__", None)
    return {
        name: {"dtype": _NAMES.get(entry["dtype"], entry["dtype"]), "shape": entry["shape"]}
        for name, entry in header.items()
    }


def write_file(file: Path, slots: Sequence[Slot], dtype: str) -> None:
    """Write one safetensors file; its header is known before the first tensor is computed.

    Raises:
        ExportError: an array came with another shape or dtype than its slot promised.
    """
    expected = numpy_dtype(dtype)
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for slot in slots:
        begin, end = end, end + slot.nbytes(dtype)
        header[slot.name] = {
            "dtype": _CODES[dtype],
            "shape": list(slot.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces after the header keep the first tensor on an 8-byte boundary.
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for slot in slots:
            array = slot.read()
            if array.shape != slot.shape or array.dtype != expected:
                raise ExportError(
                    f"{slot.name}: expected {dtype} of shape {slot.shape}, "
                    f"got {array.dtype} of shape {array.shape}."
                )
            # A view of bytes, as ml_dtypes arrays have no buffer of their own.
            stream.write(np.ascontiguousarray(array).view(np.uint8).data)
