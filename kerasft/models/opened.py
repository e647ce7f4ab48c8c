"""A model's files, understood but not yet loaded: one opener for each format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import DataError, ModelError
from kerasft.models import tokenizer_files
from kerasft.models.families import FAMILIES, Family, TensorSpec, of_gguf, of_hf_config
from kerasft.models.fingerprint import fingerprint, gguf_positions, hf_positions
from kerasft.models.gguf import GgufFile, numpy_dtype
from kerasft.models.keras_files import QUANTIZED, KerasFiles
from kerasft.models.safetensors_files import SafetensorsFiles
from kerasft.models.weights import check_shapes, fill, without_padding

if TYPE_CHECKING:
    from kerasft.data.tokens import Tokenizer

_UNSAFE = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".keras", ".h5"}
_CONFIG = "config.json"


@dataclass(frozen=True)
class Opened:
    """A base model whose weights have not been read yet.

    Attributes:
        family: its table.
        config: KerasHub backbone arguments.
        name: what the source is called, without any folder of this machine.
        load_tokenizer: reads the tokenizer.
        read: one tensor in its KerasHub shape and the dtype that is named. Quantised
            values are unpacked in float32 and rounded once.
        sample: some values of a tensor, in any float type, by flat positions in its
            KerasHub shape (row-major).
        files: the files that belong to it.
        wrapped: whether it is a checkpoint that holds the text model inside another one,
            so that loaders give its layers other names.
        quantized: types of its quantised values, unless it is a GGUF file.
    """

    family: Family
    config: dict[str, Any]
    name: str
    load_tokenizer: Callable[[], Tokenizer]
    read: Callable[[TensorSpec, str], np.ndarray]
    sample: Callable[[TensorSpec, np.ndarray], np.ndarray]
    files: tuple[Path, ...]
    wrapped: bool = False
    quantized: tuple[str, ...] = ()

    def named(self, name: str) -> str:
        """A name of the source, with what its weights were dequantised from."""
        if not self.quantized:
            return name
        return f"{name} (dequantised from {' and '.join(self.quantized)})"

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Its tensors."""
        return self.family.tensors(self.config)

    def load_weights(self, causal_lm: Any, dtype: str) -> None:
        """Fills a causal LM that was built from `config` in this dtype."""
        fill(causal_lm.backbone, self.specs, lambda spec: self.read(spec, dtype))

    def fingerprint(self, dtype: str) -> str:
        """The fingerprint of the weights as they are in a dtype; see `fingerprint`."""
        target = numpy_dtype(dtype)
        return fingerprint(self.specs, lambda spec, at: self.sample(spec, at).astype(target))


def open_path(path: Path) -> Opened:
    """Opens a local .gguf file, Hugging Face folder or Keras preset folder.

    Raises:
        ModelError: it is none of these, or its parts do not fit together.
    """
    if path.is_file():
        if path.suffix == ".gguf":
            return open_gguf(path)
        raise ModelError(_not_loaded(path))
    config = read_config(path)
    if "model_type" in config:
        return _open_hugging_face(path, config)
    return _open_keras(path, config)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        ModelError: it is missing or not a JSON object of a known kind.
    """
    file = folder / _CONFIG
    if not file.is_file():
        loose = sorted(p.name for p in folder.iterdir() if p.suffix in _UNSAFE)
        raise ModelError(
            f"{folder.name}: expected a model folder with {_CONFIG}, found none"
            + (f" (but {loose[0]}, which is not read: it can run code)" if loose else "")
            + "."
        )
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not ("model_type" in config or "class_name" in config):
        raise ModelError(
            f"{folder.name}/{_CONFIG}: expected the config of a Hugging Face model (model_type) or "
            "of a KerasHub backbone (class_name)."
        )
    return config


def family_and_config(config: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """The family and KerasHub arguments in a config.json of either library.

    Raises:
        ModelError: the family is not supported, or KerasHub cannot express the settings.
    """
    if "model_type" in config:
        family = of_hf_config(config)
        return family, family.config_from_hf(config)
    values = config.get("config")
    kind = str(config["class_name"])
    for family in FAMILIES.values():
        if kind == family.backbone_class and isinstance(values, Mapping) and family.owns(values):
            return family, family.config_from_keras(values)
    raise ModelError(
        f"The preset's class {kind} is not supported. Supported families: {', '.join(FAMILIES)}."
    )


def open_gguf(path: Path) -> Opened:
    """Opens a GGUF file; only its header is read.

    Raises:
        ModelError: it is damaged, of another family, or its tensors do not fit its metadata.
    """
    file = GgufFile(path)
    family = of_gguf(file)
    config = family.config_from_gguf(file)
    specs = family.tensors(config)

    def stored_shape(spec: TensorSpec) -> tuple[int, ...] | None:
        tensor = file.tensors.get(spec.gguf)
        return tensor.shape if tensor else None

    check_shapes(specs, stored_shape, path.name)

    def read(spec: TensorSpec, dtype: str) -> np.ndarray:
        # The offset of a norm must be taken off before rounding.
        precision = "float32" if spec.gguf_offset else dtype
        array = spec.from_gguf(without_padding(spec, file.read(spec.gguf, precision)))
        return array.astype(numpy_dtype(dtype), copy=False)

    def sample(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        values = file.sample(spec.gguf, gguf_positions(spec, at))
        return values - np.float32(spec.gguf_offset)

    return Opened(
        family, config, path.name, lambda: gguf_tokenizer(file.metadata), read, sample, (path,)
    )


def gguf_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer inside a GGUF file's metadata.

    Raises:
        ModelError: its entries are missing, of unequal length, or of another kind.
    """
    from kerasft.data.tokens import SentencePieceTokenizer, TokenizerJson

    prefix = "tokenizer.ggml."
    parts = {
        key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)
    }
    kind, split = str(parts.get("model")), str(parts.get("pre", "default"))
    try:
        if kind == "llama" and (proto := _pieces(parts)):
            return SentencePieceTokenizer(proto)
        tokens, merges = parts.get("tokens"), parts.get("merges")
        ends = [parts.get(f"{name}_token_id") for name in ("bos", "eos")]
        lists = isinstance(tokens, list) and isinstance(merges, list)
        if (kind, split) == ("gpt2", "llama-bpe") and lists and _are_ids(ends, tokens):
            vocabulary = {token: index for index, token in enumerate(tokens)}
            contents = tokenizer_files.llama3_tokenizer_json(vocabulary, merges)
            return TokenizerJson(contents, *(tokens[end] for end in ends))
    except DataError as error:
        raise ModelError(f"The GGUF file's tokenizer cannot be used: {error}.") from None
    raise ModelError(
        f"The GGUF file's tokenizer (model {kind!r}, pre {split!r}) cannot be used: expected "
        "Gemma's SentencePiece pieces or Llama 3's byte-pair merges, whole. "
        "Use a file written by llama.cpp's converter."
    )


def _pieces(parts: Mapping[str, Any]) -> bytes | None:
    """A SentencePiece model from GGUF's arrays, or None if they do not fit together."""
    tokens, types, scores = (parts.get(key) for key in ("tokens", "token_type", "scores"))
    ids = {
        name: parts.get(f"{key}_token_id", default)
        for name, key, default in (
            ("bos", "bos", None),
            ("eos", "eos", None),
            ("pad", "padding", 0),
            ("unk", "unknown", 3),
        )
    }
    fits = (
        isinstance(tokens, list)
        and isinstance(types, np.ndarray)
        and isinstance(scores, np.ndarray)
        and len(tokens) == len(types) == len(scores)
        and bool(np.isin(types, list(tokenizer_files.PIECE_TYPES)).all())
        and _are_ids(ids.values(), tokens)
    )
    if not fits:
        return None
    return tokenizer_files.sentencepiece_model(tokens, scores.tolist(), types.tolist(), ids)


def _are_ids(values: Iterable[Any], tokens: Sequence[str]) -> bool:
    return all(isinstance(value, int) and 0 <= value < len(tokens) for value in values)


def _open_hugging_face(folder: Path, raw: Mapping[str, Any]) -> Opened:
    if raw.get("quantization_config"):
        raise ModelError(
            f"{folder.name} is quantised; expected float weights. Use the unquantised checkpoint."
        )
    family, config = family_and_config(raw)
    stored = SafetensorsFiles(folder)
    specs = family.tensors(config)
    names = {spec.name: family.hf_name(spec, stored.__contains__) for spec in specs}

    def stored_shape(spec: TensorSpec) -> tuple[int, ...] | None:
        name = names[spec.name]
        return stored.shape(name) if name in stored else None

    check_shapes(specs, stored_shape, folder.name)

    def read(spec: TensorSpec, dtype: str) -> np.ndarray:
        array = spec.from_hf(without_padding(spec, stored.read(names[spec.name])))
        return array.astype(numpy_dtype(dtype), copy=False)

    def sample(spec: TensorSpec, at: np.ndarray) -> np.ndarray:
        return stored.sample(names[spec.name], hf_positions(spec, at))

    files = (*stored.files, folder / _CONFIG)
    wrapped = any(names[spec.name] != spec.hf for spec in specs)
    return Opened(
        family, config, folder.name, lambda: _tokenizer(folder), read, sample, files, wrapped
    )


def _tokenizer(folder: Path) -> Tokenizer:
    from kerasft.data.tokens import from_folder

    try:
        return from_folder(folder)
    except DataError as error:
        raise ModelError(str(error)) from None


def _open_keras(folder: Path, raw: Mapping[str, Any]) -> Opened:
    family, config = family_and_config(raw)
    stored = KerasFiles(folder, family)
    quantized = tuple(sorted(stored.check(family.tensors(config)) & QUANTIZED))

    def read(spec: TensorSpec, dtype: str) -> np.ndarray:
        return stored.read(spec).astype(numpy_dtype(dtype), copy=False)

    files = (*stored.files, folder / _CONFIG)
    return Opened(
        family,
        config,
        folder.name,
        lambda: keras_tokenizer(folder),
        read,
        stored.sample,
        files,
        quantized=quantized,
    )


def keras_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a KerasHub preset folder.

    Raises:
        ModelError: its assets are missing or cannot be used.
    """
    from kerasft.data.tokens import SentencePieceTokenizer, TokenizerJson

    assets = folder / "assets" / "tokenizer"
    try:
        if (assets / "vocabulary.spm").is_file():
            return SentencePieceTokenizer((assets / "vocabulary.spm").read_bytes())
        vocabulary = json.loads((assets / "vocabulary.json").read_bytes())
        lines = (assets / "merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
        contents = tokenizer_files.llama3_tokenizer_json(vocabulary, merges)
        return TokenizerJson(contents, "<|begin_of_text|>", _llama_end(folder))
    except (OSError, ValueError, AttributeError, TypeError, DataError) as error:
        raise ModelError(
            f"{folder.name}: the tokenizer in assets/tokenizer cannot be used ({error})."
        ) from None


def _llama_end(folder: Path) -> str:
    """The token that ends a text: KerasHub's own unless tokenizer.json names another."""
    file = folder / "tokenizer.json"
    arguments = json.loads(file.read_bytes())["config"] if file.is_file() else {}
    return arguments.get("eos_token") or "<|end_of_text|>"


def _not_loaded(path: Path) -> str:
    if path.suffix in _UNSAFE:
        return (
            f"{path.name}: files in {path.suffix} can run code when loaded and are not read. "
            "Use a folder with safetensors, a KerasHub preset or a .gguf file."
        )
    return f"{path.name}: expected a model folder or a .gguf file."
