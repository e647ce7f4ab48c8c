"""Safetensors checkpoints, single or sharded, read one tensor at a time.

The header is checked against the file before a tensor is touched. Tensors are read
rather than mapped: pages of a map stay in the process until the system wants them
back, and merging a model should need room for one tensor. Source: the format
description of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import ModelError
from kerasft.models.gguf import numpy_dtype

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_HEADER_LIMIT = 100_000_000
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class _Place:
    file: int
    dtype: str
    shape: tuple[int, ...]
    start: int


class SafetensorsFiles:
    """All tensors of a checkpoint folder by name.

    Raises:
        ModelError: a file is missing, cut off, or its header does not fit it.
    """

    def __init__(self, folder: Path) -> None:
        self.files = _files_of(folder)
        self._places: dict[str, _Place] = {}
        for index, path in enumerate(self.files):
            self._places |= _header(path, index)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def names(self) -> list[str]:
        """Of every tensor, in the order of the headers."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape of a tensor."""
        return self._places[name].shape

    def dtype(self, name: str) -> str:
        """The stored type of a tensor, such as `bfloat16`.

        Raises:
            ModelError: it is not a float (a quantised checkpoint).
        """
        place = self._places[name]
        if place.dtype not in _DTYPES:
            raise ModelError(
                f"{self.files[place.file].name}: tensor {name} has type {place.dtype}; expected "
                "float weights. Use the checkpoint that is not quantised."
            )
        return _DTYPES[place.dtype]

    def read(self, name: str) -> np.ndarray:
        """A tensor in its stored type.

        Raises:
            ModelError: its type is not a float, or the file cannot be read.
        """
        place = self._places[name]
        array = np.empty(place.shape, numpy_dtype(self.dtype(name)))
        self._read(place, {0: array.reshape(-1).view(np.uint8)})
        return array

    def sample(self, name: str, at: np.ndarray) -> np.ndarray:
        """Some values of a tensor, by different flat positions; only these are read.

        Raises:
            ModelError: as `read`.
        """
        values = np.empty(len(at), numpy_dtype(self.dtype(name)))
        parts = values.view(np.uint8).reshape(len(at), values.itemsize)
        offsets = (int(position) * values.itemsize for position in at)
        self._read(self._places[name], dict(zip(offsets, parts, strict=True)))
        return values

    def _read(self, place: _Place, parts: dict[int, np.ndarray]) -> None:
        """Reads parts of a tensor, by their first byte in it, into arrays of bytes."""
        path = self.files[place.file]
        try:
            with path.open("rb", buffering=0) as file:
                for offset, part in parts.items():
                    file.seek(place.start + offset)
                    view, done = memoryview(part), 0
                    while done < len(view):  # one call reads 2 GiB at the most
                        if not (count := file.readinto(view[done:])):
                            raise OSError(f"it ends {len(view) - done} bytes early")
                        done += count
        except OSError as error:
            raise ModelError(f"{path.name}: cannot be read ({error}). Download it again.") from None


def _files_of(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelError(
            f"{folder.name}: expected model.safetensors or {INDEX}, found neither. Checkpoints "
            "in .bin, .pt or .keras can run code when loaded and are not read: convert them "
            "to safetensors."
        )
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ModelError(f"{index.name}: expected a JSON object with a weight_map.") from None
    # A shard's name is data from outside: only files of this very folder are opened.
    outside = [name for name in shards if Path(str(name)).name != name]
    missing = [name for name in shards if not outside and not (folder / name).is_file()]
    if outside or missing:
        names = ", ".join(map(str, outside + missing))
        raise ModelError(
            f"{index.name}: shards missing from the folder: {names}. Download the model again."
        )
    return [folder / name for name in shards]


def _start(path: Path) -> tuple[int, bytes]:
    """The size of a file, and its length field with as much header as that promises."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) == 8:
                start += file.read(min(struct.unpack("<Q", start)[0], _HEADER_LIMIT))
            return size, start
    except OSError as error:
        raise ModelError(f"{path.name}: cannot be read ({error}). Download it again.") from None


def _header(path: Path, index: int) -> dict[str, _Place]:
    def wrong(what: str) -> ModelError:
        return ModelError(
            f"{path.name}: not a whole safetensors file: {what}. Download it again "
            "(a git-lfs pointer is not the file itself)."
        )

    length, data = _start(path)
    if len(data) < 8:
        raise wrong(f"it has {length} bytes")
    (size,) = struct.unpack("<Q", data[:8])
    if size > min(length - 8, _HEADER_LIMIT):
        raise wrong(f"it claims a header of {size} bytes, the file has {length}")
    try:
        header: dict[str, Any] = json.loads(data[8:])
        header.pop("__metadata__", None)
        places = {}
        for name, entry in header.items():
            shape, (start, end) = entry["shape"], entry["data_offsets"]
            numbers = all(type(number) is int for number in (*shape, start, end))
            if not numbers or not isinstance(entry["dtype"], str):
                raise TypeError("dtype is text; shape and data_offsets are whole numbers")
            places[name] = (entry["dtype"], tuple(shape), start, end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise wrong(f"its header cannot be read ({type(error).__name__})") from None
    room = length - 8 - size
    checked = {}
    for name, (dtype, shape, start, end) in places.items():
        if not 0 <= start <= end <= room or min(shape, default=0) < 0:
            raise wrong(f"tensor {name} should end at byte {end} of {room}")
        if dtype in _DTYPES:
            needed = prod(shape) * numpy_dtype(_DTYPES[dtype]).itemsize
            if needed != end - start:
                raise wrong(f"tensor {name} has {end - start} bytes, its shape needs {needed}")
        checked[name] = _Place(index, dtype, shape, 8 + size + start)
    return checked
