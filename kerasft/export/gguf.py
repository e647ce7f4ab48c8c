"""A merged model as one GGUF file, with a Modelfile for Ollama beside it.

The file is written with the `gguf` package, tensor by tensor, by the rules of
llama.cpp's converter: norms and other one-dimensional tensors in float32, Q8_0 only
where a row is whole blocks of 32 values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ExportError, collected
from kerasft.export.gguf_metadata import metadata, metadata_faults
from kerasft.export.merging import Merger
from kerasft.export.modelfile import modelfile
from kerasft.export.stored import coarsest
from kerasft.export.written import Written, files_of
from kerasft.records import write_text

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec

KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""Our names of the types that weights are written in → ggml's."""

_CHUNK_VALUES = 1 << 22  # how many values are packed or unpacked at a time


def write_gguf(weights: WeightsView, out: Path, *, dtype: str) -> Written:
    """Write `model-KIND.gguf` and `Modelfile` into a folder.

    Each tensor is base + delta in float32, packed once, and needs memory for itself
    alone.

    Args:
        weights: the trained model.
        out: an existing empty folder.
        dtype: of the weights, of `KINDS`.

    Raises:
        ModelError: llama.cpp would run this model in another way.
        ExportError: the dtype cannot hold the weights, or llama.cpp would cut text in
            another way.
    """
    from gguf import GGUFWriter

    family, config = weights.family, weights.config
    entries = metadata(weights, dtype)
    specs = family.tensors(config)
    extra = family.gguf_tensors(config)
    kinds = {spec.gguf: _kind(spec.hf_shape, dtype) for spec in specs}
    path = out / f"model-{KINDS[dtype]}.gguf"
    merger = Merger(weights, "float32")
    faults: list[str] = []
    with closing(GGUFWriter(path, family.gguf_architecture)) as writer:
        for key, value in entries.items():
            _add(writer, key, value)
        for name, array in extra.items():
            _announce(writer, name, array.shape, _kind(array.shape, "float32"))
        for spec in specs:
            _announce(writer, spec.gguf, spec.hf_shape, kinds[spec.gguf])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for array in extra.values():
            writer.write_tensor_data(array)
        for spec in specs:
            packed, overflows = _packed(spec.to_gguf(merger.keras(spec)), kinds[spec.gguf])
            if overflows:
                faults.append(f"{spec.name}: {overflows} of {spec.size} values are not finite")
            writer.write_tensor_data(packed)
    merger.finish()
    if faults:
        raise ExportError(collected(f"The merged weights do not fit {dtype}", faults))
    write_text(out / "Modelfile", modelfile(weights, path.name))
    return Written(
        files=files_of(out),
        dtype=dtype,
        tensors=len(specs) + len(extra),
        merged=len(merger.merged),
        parameters=sum(spec.size for spec in specs),
        notes=_notes(specs, kinds, dtype),
    )


class StoredGguf:
    """The weights of a GGUF file, read by the `gguf` package's own reader.

    Attributes:
        dtype: the coarsest type of any tensor.
    """

    def __init__(self, reader: GGUFReader, weights: WeightsView) -> None:
        self._weights = weights
        self._reader = reader
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        ours = {kind: name for name, kind in KINDS.items()}
        unknown = sorted({each.tensor_type.name for each in reader.tensors} - ours.keys())
        if unknown or not self._tensors:
            raise ExportError(
                f"The GGUF file holds tensors of {', '.join(unknown) or 'no type'}; a proof needs "
                f"{', '.join(KINDS.values())}."
            )
        self._dtypes = {name: ours[each.tensor_type.name] for name, each in self._tensors.items()}
        self.dtype: str = coarsest(set(self._dtypes.values()))

    def tensor(self, spec: TensorSpec) -> np.ndarray | None:
        """The dequantised values in the KerasHub shape, float32.

        Of a norm the file holds 1 + scale in float32, which is what is computed with: a
        scale that gives the stored sum is that scale, though the sum has lost some of
        its digits.
        """
        if not self._has_shape(spec):
            return None
        stored = _unpacked(self._tensors[spec.gguf]).reshape(spec.hf_shape)
        array = spec.from_gguf(stored)
        if not spec.gguf_offset:
            return array
        trained = self._weights.base_array(spec).astype(np.float32)
        return np.where(spec.to_gguf(trained) == stored, trained, array)

    def dtype_of(self, spec: TensorSpec) -> str:
        """The type that this tensor is stored in."""
        return self._dtypes[spec.gguf]

    def faults(self) -> list[str]:
        """Metadata and tensors that make another model than the trained one."""
        weights = self._weights
        entries = {name: field.contents() for name, field in self._reader.fields.items()}
        faults = metadata_faults(entries, weights)
        specs = weights.family.tensors(weights.config)
        extra = weights.family.gguf_tensors(weights.config)
        unknown = sorted(self._tensors.keys() - {spec.gguf for spec in specs} - extra.keys())
        if unknown:
            faults.append(f"unexpected tensors: {', '.join(unknown[:5])}")
        for name, wanted in extra.items():
            found = _unpacked(self._tensors[name]) if name in self._tensors else None
            if found is None or found.shape != wanted.shape:
                faults.append(f"{name} is missing or has another shape")
            elif not np.allclose(found, wanted, rtol=1e-5):
                faults.append(f"{name} scales the rotary frequencies in another way")
        return faults

    def _has_shape(self, spec: TensorSpec) -> bool:
        tensor = self._tensors.get(spec.gguf)
        # The package gives shapes as the file has them: the last axis first.
        return tensor is not None and tuple(tensor.shape.tolist()[::-1]) == spec.hf_shape


def stored_gguf(folder: Path, weights: WeightsView) -> StoredGguf:
    """The weights of a folder with one GGUF file.

    Raises:
        ExportError: there is not one such file, it cannot be read, or it holds types
            that a proof has no bound for.
    """
    from gguf import GGUFReader

    return StoredGguf(read_file(gguf_file(folder), GGUFReader), weights)


def gguf_file(folder: Path) -> Path:
    """The one GGUF file of a folder.

    Raises:
        ExportError: there is none, or several.
    """
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise ExportError(f"{folder.name}: expected one .gguf file, found {found}.")
    return files[0]


def read_file(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Opens a GGUF file with a reader of the `gguf` package.

    Raises:
        ExportError: the file is damaged.
    """
    try:
        return reader(path)
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{path.name} is not a whole GGUF file ({type(error).__name__}: {error})."
        ) from None


def _kind(shape: tuple[int, ...], dtype: str) -> GGMLQuantizationType:
    """The ggml type of a tensor: only matrices are rounded, and only whole blocks packed."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType[KINDS[dtype] if len(shape) > 1 else "F32"]
    block, _ = GGML_QUANT_SIZES[kind]
    return GGMLQuantizationType.F16 if shape[-1] % block else kind


def _announce(
    writer: GGUFWriter, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType
) -> None:
    """Puts a tensor whose data come later into the table of contents."""
    from gguf.constants import GGML_QUANT_SIZES

    block, block_bytes = GGML_QUANT_SIZES[kind]
    size = prod(shape) // block * block_bytes
    writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)


def _packed(array: np.ndarray, kind: GGMLQuantizationType) -> tuple[np.ndarray, int]:
    """A float32 tensor's bytes in a ggml type, and how many values overflowed."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import quantize

    block, block_bytes = GGML_QUANT_SIZES[kind]
    rows = array.reshape(-1, array.shape[-1])
    packed = np.empty((len(rows), rows.shape[1] // block * block_bytes), np.uint8)
    overflows = 0
    for part in _parts(rows.shape):
        chunk = np.ascontiguousarray(rows[part])
        with np.errstate(over="ignore"):  # counted
            packed[part] = quantize(chunk, kind).view(np.uint8)
        if kind == GGMLQuantizationType.F16:
            overflows += int(np.count_nonzero(np.isinf(packed[part].view(np.float16))))
    return packed, overflows


def _unpacked(tensor: Any) -> np.ndarray:
    """A stored tensor's values as float32, row-major and flat but for its last axis."""
    from gguf.quants import dequantize

    data = tensor.data.reshape(-1, tensor.data.shape[-1])
    width = int(tensor.shape[0])
    values = np.empty((len(data), width), np.float32)
    for part in _parts(values.shape):
        values[part] = dequantize(data[part], tensor.tensor_type)
    return values if len(values) > 1 else values[0]


def _parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a matrix, a few at a time."""
    step = max(1, _CHUNK_VALUES // shape[1])
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def _notes(
    specs: tuple[TensorSpec, ...], kinds: dict[str, GGMLQuantizationType], dtype: str
) -> tuple[str, ...]:
    """What a person should know of the types."""
    kept = sum(len(spec.shape) > 1 and kinds[spec.gguf].name != KINDS[dtype] for spec in specs)
    if not kept:
        return ()
    return (
        f"{kept} tensors are stored in F16: their rows are no whole blocks of 32 values, which "
        f"{KINDS[dtype]} needs.",
    )


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """One metadata entry, with the type that llama.cpp reads it as."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
