"""The weights of a KerasHub preset, read one tensor at a time.

Keras writes HDF5: a group for each layer, by the way that leads to it through lists and
attributes, and in its `vars` the variables 0, 1, … (`_save_state`, `H5IOStore` and
`ShardedH5IOStore` of keras 3.15, keras/src/saving/saving_lib.py). bfloat16 lies there as two
opaque bytes with an attribute that names it. Only plain data sets of this folder's files
are read: HDF5 could also point to other files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ModelError, collected
from kerasft.models.gguf import numpy_dtype
from kerasft.models.quantized import from_int4, from_int8, packed_shape

if TYPE_CHECKING:
    from kerasft.models.families import Family, TensorSpec

SINGLE, INDEX = "model.weights.h5", "model.weights.json"
QUANTIZED = frozenset({"int8", "int4"})
_OPAQUE = np.dtype("V2")


def group_of(family: Family, spec: TensorSpec) -> str:
    """The HDF5 group of the layer that holds a tensor."""
    head, *path = spec.keras[:-1]
    name = family.saved_layers[head]
    if head == "transformer_layers":
        index = int(path.pop(0))
        name += f"_{index}" if index else ""
    return "/".join(("layers", name, *path, "vars"))


class KerasFiles:
    """All tensors of a preset folder.

    Args:
        folder: with `model.weights.h5`, or `model.weights.json` and its shards.
        family: whose table names the layers.

    Attributes:
        files: the weight files, the index first where there is one.

    Raises:
        ModelError: a file is missing or the index cannot be read.
    """

    def __init__(self, folder: Path, family: Family) -> None:
        self._folder = folder
        self._family = family
        self._shards: dict[str, list[str]] | None = None
        self.files = [folder / SINGLE]
        if not self.files[0].is_file():
            self._shards = _weight_map(folder)
            names = sorted({name for shard in self._shards.values() for name in shard})
            self.files = [folder / INDEX, *(folder / name for name in names)]

    def check(self, specs: Iterable[TensorSpec]) -> set[str]:
        """Compares the table of contents with the model before a value is read.

        Returns:
            How the tensors are stored; see `kind`.

        Raises:
            ModelError: every tensor that is missing, misshapen or quantised in a way that
                is not read.
        """
        faults, kinds = [], set()
        for spec in specs:
            try:
                kinds.add(self.kind(spec))
            except ModelError as error:
                faults.append(str(error).removesuffix("."))
        if faults:
            what = f"{self.files[0].name} does not hold the backbone that config.json describes"
            raise ModelError(collected(what, faults))
        return kinds

    def kind(self, spec: TensorSpec) -> str:
        """How a tensor is stored: `float32`, `bfloat16`, `float16`, `int8` or `int4`.

        Raises:
            ModelError: it is missing, misshapen, or quantised in another way.
        """
        with self._layer(spec) as layer:
            return layer.kind(spec)

    def read(self, spec: TensorSpec) -> np.ndarray:
        """A tensor in its stored float type, or dequantised to float32; KerasHub shape.

        Raises:
            ModelError: as `kind`, or the file is damaged.
        """
        with self._layer(spec) as layer:
            kind = layer.kind(spec)
            if kind == "int8":
                values, scale = (layer.read(layer.first(spec) + at) for at in range(2))
                return from_int8(spec, values, scale)
            if kind == "int4":
                return from_int4(spec, *layer.int4_parts(spec))
            return layer.read(layer.first(spec))

    def sample(self, spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        """Values at flat positions of the KerasHub shape; only these, if they are floats.

        Raises:
            ModelError: as `read`.
        """
        with self._layer(spec) as layer:
            if layer.kind(spec) not in QUANTIZED:
                return layer.sample(layer.first(spec), np.unravel_index(at, spec.shape))
        return self.read(spec).reshape(-1)[at]

    @contextmanager
    def _layer(self, spec: TensorSpec) -> Iterator[_Layer]:
        """The open layer of a tensor; what HDF5 cannot read becomes a ModelError."""
        import h5py

        group = group_of(self._family, spec)
        names = [SINGLE] if self._shards is None else self._shards.get(f"/{group}", [])
        opened: list[Any] = []
        try:
            for name in names:
                opened.append(h5py.File(self._folder / name, "r"))
            yield _Layer(opened, group)
        except (OSError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"{', '.join(names) or INDEX}: {group} cannot be read ({error}). Download the "
                "preset again."
            ) from None
        finally:
            for file in opened:
                file.close()


class _Layer:
    """The variables of one layer, by number."""

    def __init__(self, files: list[Any], group: str) -> None:
        self.group = group
        self._data: dict[int, Any] = {}
        for file in files:
            self._data |= _datasets(file, group)

    def first(self, spec: TensorSpec) -> int:
        """The number of a tensor's first variable; an untied head comes after the embedding."""
        if not spec.name.startswith("output_embedding"):
            return 0
        if not self._quantized(0):
            return 1
        return 4 if len(self._data) > 4 else 2

    def kind(self, spec: TensorSpec) -> str:
        """See `KerasFiles.kind`."""
        first = self.first(spec)
        data = self._data.get(first)
        if data is None:
            raise ModelError(f"{self.group} has no variable {first} ({spec.name}).")
        shape, stored = tuple(data.shape), _float_name(data)
        if stored and shape == spec.shape:
            # A layer trained in float8 keeps its scales beside a float kernel.
            if len(self._data) > (2 if "embedding" in spec.name else 1):
                raise _unread(self.group, "float8")
            return stored
        if data.dtype == np.int8 and first + 1 in self._data:
            if shape == spec.shape:
                return "int8"
            if shape == packed_shape(spec):
                return "int4"
        if not stored and data.dtype != np.int8:
            raise _unread(self.group, str(data.dtype))
        raise ModelError(f"{spec.name}: expected shape {spec.shape}, got {shape} of {data.dtype}.")

    def int4_parts(self, spec: TensorSpec) -> tuple[np.ndarray, ...]:
        """Packed values and scales, and where they are grouped zero points and groups."""
        first = self.first(spec)
        grouped = len(self._data[first + 1].shape) > 1
        numbers = [first, first + 1]
        if grouped:
            # The untied head shares the groups of the embedding before it.
            numbers += [first + 2, 3]
        return tuple(self.read(number) for number in numbers)

    def read(self, number: int) -> np.ndarray:
        """One variable, in its stored type."""
        data = self._data[number]
        return _typed(data, data[()])

    def sample(self, number: int, index: tuple[np.ndarray, ...]) -> np.ndarray:
        """Values of one variable at an index for each axis."""
        data = self._data[number]
        places = zip(*index, strict=True)
        found = [data[tuple(slice(at, at + 1) for at in place)].reshape(-1) for place in places]
        return _typed(data, np.concatenate(found))

    def _quantized(self, number: int) -> bool:
        return number in self._data and self._data[number].dtype == np.int8


def _datasets(file: Any, group: str) -> dict[int, Any]:
    """Plain data sets of a group by number; links and data outside the file are refused."""
    import h5py

    place = file
    for part in group.split("/"):
        if place.get(part, getlink=True) is None:
            return {}
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ModelError(f"{group} is a link; expected a group of this file.")
        place = place[part]
        if not isinstance(place, h5py.Group):
            raise ModelError(f"{group}: expected a group, found a data set.")
    found = {}
    for name in place:
        plain = isinstance(place.get(name, getlink=True), h5py.HardLink)
        data = place[name] if plain else None
        if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
            raise ModelError(f"{group}/{name}: expected a plain data set of this file.")
        if name.isdigit():
            found[int(name)] = data
    return found


def _float_name(data: Any) -> str | None:
    """The float type of a data set; None if it holds none."""
    if data.dtype == _OPAQUE and data.attrs.get("dtype") == "bfloat16":
        return "bfloat16"
    return data.dtype.name if data.dtype.name in ("float32", "float16", "float64") else None


def _typed(data: Any, array: np.ndarray) -> np.ndarray:
    """bfloat16 in place of its opaque bytes."""
    return array.view(numpy_dtype("bfloat16")) if data.dtype == _OPAQUE else array


def _unread(group: str, kind: str) -> ModelError:
    return ModelError(
        f"{group} is quantised as {kind}; float, int8 and int4 presets are read. Use a preset "
        "that is not quantised."
    )


def _weight_map(folder: Path) -> dict[str, list[str]]:
    """Group → its shards, from the index."""
    index = folder / INDEX
    if not index.is_file():
        raise ModelError(f"{folder.name}: expected {SINGLE} or {INDEX}, found neither.")
    try:
        entries = json.loads(index.read_bytes())["weight_map"].items()
        shards = {
            str(group): [names] if isinstance(names, str) else [str(name) for name in names]
            for group, names in entries
        }
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ModelError(f"{index.name}: expected a JSON object with a weight_map.") from None
    # A shard's name is data from outside: only files of this very folder are opened.
    names = {name for shard in shards.values() for name in shard}
    missing = [n for n in sorted(names) if Path(n).name != n or not (folder / n).is_file()]
    if missing:
        raise ModelError(
            f"{index.name}: shards missing from the folder: {', '.join(missing)}. Download the "
            "preset again."
        )
    return shards
