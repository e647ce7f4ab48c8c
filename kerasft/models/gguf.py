"""A GGUF file, read with every length checked against the file before it is used.

The container (header, metadata, tensor table) is parsed here, because a file may
lie about any of its counts, lengths and offsets; what is wrong becomes a
ModelError, never a crash or a large allocation. Only the arithmetic that unpacks
quantised blocks comes from the `gguf` package.

Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md), versions
2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "|b1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_SMALLEST_PAIR = 8 + 4 + 1  # length of an empty key, type, one byte of value
_SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8  # name length, rank, one dimension, type, offset
_MAX_RANK = 4
_LENGTH = struct.Struct("<Q")
_CHUNK_VALUES = 1 << 22  # how many values are unpacked at a time: 16 MiB as float32

_AGAIN = "Download it again (a git-lfs pointer is not the file itself)."


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies in the file.

    Attributes:
        kind: GGML type name, e.g. `Q4_K`.
        shape: row-major shape, the Hugging Face one (GGUF stores it reversed).
        start: first byte, from the start of the file.
        row_bytes: bytes of one row of the last axis.
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    row_bytes: int

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return prod(self.shape[:-1]) * self.row_bytes


class GgufFile:
    """An open GGUF file: `metadata` by key, `tensors` by name, `read` for values.

    Numeric arrays in the metadata are NumPy arrays, string arrays are lists.

    Raises:
        ModelError: the file is not a whole and well-formed GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise ModelError(
                f"{path.name}: cannot be read as a GGUF file ({error}). {_AGAIN}"
            ) from None
        self._bytes = memoryview(self._map)
        self.metadata: Mapping[str, Any]
        self.tensors: Mapping[str, GgufTensor]
        self._parse()

    def read(self, name: str, dtype: str = "float32") -> np.ndarray:
        """A tensor's values in row-major order, unpacked chunk by chunk.

        Raises:
            ModelError: there is no such tensor, or its type cannot be unpacked.
        """
        tensor = self._tensor(name)
        rows = prod(tensor.shape[:-1])
        stored = np.frombuffer(self._bytes, np.uint8, tensor.bytes, tensor.start)
        stored = stored.reshape(rows, tensor.row_bytes)
        values = np.empty((rows, tensor.shape[-1]), numpy_dtype(dtype))
        step = max(1, _CHUNK_VALUES // tensor.shape[-1])
        for start in range(0, rows, step):
            chunk = slice(start, start + step)
            values[chunk] = self._unpacked(name, tensor, stored[chunk])
        self._release(tensor)
        return values.reshape(tensor.shape)

    def sample(self, name: str, at: np.ndarray) -> np.ndarray:
        """Some values of a tensor as float32, by flat positions in row-major order.

        Only the blocks that hold them are unpacked.

        Raises:
            ModelError: as `read`.
        """
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        tensor = self._tensor(name)
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.kind]]
        places = at // block
        stored = np.empty((len(at), block_bytes), np.uint8)
        for row, place in zip(stored, places, strict=True):
            start = tensor.start + int(place) * block_bytes
            row[:] = np.frombuffer(self._bytes, np.uint8, block_bytes, start)
        self._release(tensor)
        return self._unpacked(name, tensor, stored)[np.arange(len(at)), at % block]

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self.tensors:
            raise self._wrong(f"tensor {name} is missing")
        return self.tensors[name]

    def _unpacked(self, name: str, tensor: GgufTensor, rows: np.ndarray) -> np.ndarray:
        """Stored rows of bytes as float32."""
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        try:
            return dequantize(np.ascontiguousarray(rows), GGMLQuantizationType[tensor.kind])
        except NotImplementedError:
            raise self._wrong(
                f"tensor {name} has type {tensor.kind}, which cannot be unpacked; "
                "use a file in Q4_K_M, Q8_0, F16, BF16 or F32"
            ) from None

    def _release(self, tensor: GgufTensor) -> None:
        """Gives the pages of a tensor back, which a map would keep in the process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            start = tensor.start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, start, tensor.start + tensor.bytes - start)

    def _parse(self) -> None:
        cursor = _Cursor(self._bytes, self._wrong)
        if bytes(cursor.take(4)) != _MAGIC:
            raise self._wrong("does not begin with the GGUF magic")
        version = cursor.number("<u4")
        if version not in _VERSIONS:
            raise self._wrong(f"version {version}; versions 2 and 3 (little-endian) are read")
        tensor_count = cursor.count("tensors", _SMALLEST_TENSOR)
        pair_count = cursor.count("metadata entries", _SMALLEST_PAIR)
        metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = cursor.string()
            if key in metadata:
                raise self._wrong(f"metadata key {key!r} occurs twice")
            metadata[key] = cursor.value(cursor.number("<u4"))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self._wrong(f"alignment {alignment!r} is not a power of two")
        entries = [self._tensor_entry(cursor) for _ in range(tensor_count)]
        data = -(-cursor.position // alignment) * alignment
        self.tensors = self._place(entries, data, alignment)
        self.metadata = metadata

    def _tensor_entry(self, cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
        name = cursor.string()
        rank = cursor.number("<u4")
        if not 1 <= rank <= _MAX_RANK:
            raise self._wrong(f"tensor {name!r} has {rank} dimensions; expected 1 to {_MAX_RANK}")
        shape = tuple(cursor.number("<u8") for _ in range(rank))[::-1]
        return name, shape, cursor.number("<u4"), cursor.number("<u8")

    def _place(
        self, entries: list[tuple[str, tuple[int, ...], int, int]], data: int, alignment: int
    ) -> dict[str, GgufTensor]:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        tensors: dict[str, GgufTensor] = {}
        for name, shape, type_id, offset in entries:
            try:
                kind = GGMLQuantizationType(type_id)
            except ValueError:
                raise self._wrong(f"tensor {name!r} has the unknown type {type_id}") from None
            block, block_bytes = GGML_QUANT_SIZES[kind]
            if min(shape) < 1 or shape[-1] % block:
                raise self._wrong(
                    f"tensor {name!r} has shape {shape}; {kind.name} needs rows of whole "
                    f"blocks of {block}"
                )
            tensor = GgufTensor(kind.name, shape, data + offset, shape[-1] // block * block_bytes)
            if offset % alignment or tensor.start + tensor.bytes > len(self._bytes):
                raise self._wrong(
                    f"tensor {name!r} should end at byte {tensor.start + tensor.bytes}, the file "
                    f"has {len(self._bytes)}; download it again"
                )
            if name in tensors:
                raise self._wrong(f"tensor {name!r} occurs twice")
            tensors[name] = tensor
        return tensors

    def _wrong(self, what: str) -> ModelError:
        return ModelError(f"{self.path.name}: not a usable GGUF file: {what}. {_AGAIN}")


class _Cursor:
    """Reads forward through bytes and never past their end."""

    def __init__(self, data: memoryview, wrong: Any) -> None:
        self.data = data
        self.position = 0
        self.wrong = wrong

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        if size > len(self.data) - self.position:
            raise self.wrong(
                f"it ends at byte {len(self.data)} where {size} more were expected after byte "
                f"{self.position}; download it again"
            )
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, kind: str) -> int:
        """One little-endian scalar as a Python value."""
        return np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0].item()

    def count(self, what: str, smallest: int) -> int:
        """A count of things that take at least `smallest` bytes each."""
        count = self.number("<u8")
        if count > (len(self.data) - self.position) // smallest:
            raise self.wrong(f"it claims {count} {what}, more than fit into the file")
        return count

    def string(self) -> str:
        """A length and that many bytes of UTF-8."""
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        """The next `count` strings; a vocabulary has some hundred thousand."""
        data, position, end = self.data, self.position, len(self.data)
        found = []
        for _ in range(count):
            self.position = position
            start = position + _LENGTH.size
            if start > end:
                self.take(_LENGTH.size)
            position = start + _LENGTH.unpack_from(data, position)[0]
            if position > end:
                self.position = start
                self.take(position - start)
            try:
                found.append(str(data[start:position], "utf-8"))
            except UnicodeDecodeError:
                raise self.wrong(f"text before byte {position} is not UTF-8") from None
        self.position = position
        return found

    def value(self, kind: int) -> Any:
        """A metadata value of one of the GGUF types; arrays may not nest."""
        if kind == _STRING:
            return self.string()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            raise self.wrong(f"unknown metadata type {kind}")
        item = self.number("<u4")
        if item == _STRING:
            return self.strings(self.count("strings", 8))
        if item not in _SCALARS:
            raise self.wrong(f"metadata array of type {item}")
        dtype = np.dtype(_SCALARS[item])
        count = self.count("numbers", dtype.itemsize)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy type of a Keras dtype name; bfloat16 comes from ml_dtypes."""
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)
