"""What every family answers, and how one tensor looks in each of its homes.

A family is a table: for each base tensor its place in the KerasHub backbone, its
name and shape in a Hugging Face checkpoint, and its name in a GGUF file. Import,
export, the Hugging Face twin and graph capture all read this one table.

Names used in shapes: V vocabulary, d hidden, f feed-forward, n query heads,
k key-value heads, h head width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kerasft.errors import ModelError, collected

if TYPE_CHECKING:
    from kerasft.models.architecture import Architecture
    from kerasft.models.gguf import GgufFile

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""Canonical names of the layers that LoRA can adapt, the same words for all families."""


_SIZES = (
    "vocabulary_size",
    "num_layers",
    "num_query_heads",
    "num_key_value_heads",
    "hidden_dim",
    "intermediate_dim",
    "head_dim",
)
"""The backbone arguments without a default."""


@dataclass(frozen=True)
class TensorSpec:
    """One base tensor and how to turn it from one layout into another.

    Attributes:
        name: canonical path below the backbone, e.g. `decoder_block_0/attention/query/kernel`.
        keras: attribute path from the backbone to the variable; digits index a list.
        shape: shape in KerasHub.
        hf: name in a Hugging Face checkpoint.
        hf_shape: shape in a Hugging Face checkpoint (and, read row-major, in GGUF).
        gguf: name in a GGUF file.
        axes: order of the KerasHub axes which, flattened to `hf_shape`, is the
            Hugging Face layout.
        target: canonical LoRA target that this kernel belongs to, or None.
        layer: index of the decoder block, or None.
        gguf_offset: added to the stored value by GGUF writers (1 for Gemma's norms).
        gguf_rotary_heads: number of heads whose rows GGUF writers interleave for
            rotary embedding (Llama's query and key), else 0.
    """

    name: str
    keras: tuple[str, ...]
    shape: tuple[int, ...]
    hf: str
    hf_shape: tuple[int, ...]
    gguf: str
    axes: tuple[int, ...]
    target: str | None = None
    layer: int | None = None
    gguf_offset: float = 0.0
    gguf_rotary_heads: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    def owner(self, backbone: Any) -> Any:
        """The Keras layer that holds the variable."""
        return follow(backbone, self.keras[:-1])

    def variable(self, backbone: Any) -> Any:
        """The Keras variable of the base weight (without any LoRA delta)."""
        return follow(backbone, self.keras)

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """From the KerasHub layout to the Hugging Face layout; a view where possible.

        Raises:
            ModelError: the array does not have the KerasHub shape.
        """
        self._expect(array, self.shape, "KerasHub")
        return array.transpose(self.axes).reshape(self.hf_shape)

    def from_hf(self, array: np.ndarray) -> np.ndarray:
        """From the Hugging Face layout to the KerasHub layout; a view where possible.

        Raises:
            ModelError: the array does not have the Hugging Face shape.
        """
        self._expect(array, self.hf_shape, "Hugging Face")
        unfolded = array.reshape([self.shape[axis] for axis in self.axes])
        return unfolded.transpose(np.argsort(self.axes))

    def from_gguf(self, array: np.ndarray) -> np.ndarray:
        """From a dequantised GGUF tensor (row-major) to the KerasHub layout.

        Raises:
            ModelError: the array does not have the Hugging Face shape.
        """
        self._expect(array, self.hf_shape, "GGUF")
        if self.gguf_rotary_heads:
            # Writers store the pairs (i, i + h/2) of a head next to each other.
            pairs = array.reshape(self.gguf_rotary_heads, -1, 2, *self.hf_shape[1:])
            array = pairs.swapaxes(1, 2).reshape(self.hf_shape)
        if self.gguf_offset:
            array = array - np.asarray(self.gguf_offset, dtype=array.dtype)
        return self.from_hf(array)

    def to_gguf(self, array: np.ndarray) -> np.ndarray:
        """From the KerasHub layout to what GGUF stores (row-major), in the array's dtype.

        Raises:
            ModelError: the array does not have the KerasHub shape.
        """
        array = self.to_hf(array)
        if self.gguf_offset:
            array = array + np.asarray(self.gguf_offset, dtype=array.dtype)
        if self.gguf_rotary_heads:
            halves = array.reshape(self.gguf_rotary_heads, 2, -1, *self.hf_shape[1:])
            array = halves.swapaxes(1, 2).reshape(self.hf_shape)
        return array

    def _expect(self, array: np.ndarray, shape: tuple[int, ...], layout: str) -> None:
        if tuple(array.shape) != shape:
            raise ModelError(
                f"{self.name}: expected {layout} shape {shape}, got {tuple(array.shape)}."
            )


def follow(root: Any, path: Sequence[str]) -> Any:
    """Follows an attribute path; a name made of digits indexes a list."""
    for name in path:
        root = root[int(name)] if name.isdigit() else getattr(root, name)
    return root


class Family(ABC):
    """One model family: its configurations, its tensors, its layers.

    Attributes:
        name: `gemma`, `gemma2`, `gemma3` or `llama3`.
        backbone_class: name of the class in `keras_hub.models`.
        causal_lm_class: name of the class in `keras_hub.models`.
        model_types: values of `model_type` in a Hugging Face config.json.
        gguf_architecture: `general.architecture` in a GGUF file.
        config_keys: the constructor arguments of the backbone that are kept in a config.
        keras_defaults: what the constructor takes for arguments that a preset may leave out.
        targets: canonical LoRA target -> attribute path from a decoder block to the layer.
        saved_layers: attribute of the backbone -> what Keras calls the layer, or the first of
            its list, in a weights file: the class in snake case.
        hf_prefixes: what a checkpoint may write instead of the leading `model.`.
        licence_page: where the terms are accepted.
        licence: what the terms are called.
    """

    name: ClassVar[str]
    backbone_class: ClassVar[str]
    causal_lm_class: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    gguf_architecture: ClassVar[str]
    config_keys: ClassVar[tuple[str, ...]]
    keras_defaults: ClassVar[Mapping[str, Any]]
    targets: ClassVar[Mapping[str, tuple[str, ...]]]
    saved_layers: ClassVar[Mapping[str, str]]
    hf_prefixes: ClassVar[tuple[str, ...]] = ("model.",)
    licence: ClassVar[str]
    licence_page: ClassVar[str]

    @abstractmethod
    def tensors(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """All base tensors of a model with this KerasHub backbone config."""

    @abstractmethod
    def config_from_hf(self, hf: Mapping[str, Any]) -> dict[str, Any]:
        """KerasHub backbone arguments for a Hugging Face config.json.

        Raises:
            ModelError: a setting is missing, or KerasHub cannot express it (all faults at once).
        """

    @abstractmethod
    def hf_config(
        self,
        config: Mapping[str, Any],
        *,
        dtype: str,
        bos_id: int,
        eos_ids: Sequence[int],
        pad_id: int,
    ) -> dict[str, Any]:
        """The config.json that transformers 4.56 and 5.x both read as this model."""

    @abstractmethod
    def max_positions(self, config: Mapping[str, Any]) -> int:
        """Longest sequence, in tokens, that models of this shape were made for."""

    @abstractmethod
    def config_from_gguf(self, file: GgufFile) -> dict[str, Any]:
        """KerasHub backbone arguments for the metadata of a GGUF file.

        Raises:
            ModelError: the metadata does not fit (all faults at once).
        """

    @abstractmethod
    def gguf_metadata(self, config: Mapping[str, Any]) -> dict[str, int | float | str]:
        """What llama.cpp must be told of a model of this shape, by key below the architecture.

        The keys are those of llama.cpp's own converter: whole numbers are stored as
        uint32, others as float32.

        Raises:
            ModelError: llama.cpp would run this model in another way (all faults at once).
        """

    def gguf_tensors(self, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Tensors that a GGUF file holds beside the weights: name → float32 array."""
        return {}

    def config_of(self, backbone: Any) -> dict[str, Any]:
        """The KerasHub backbone arguments of a live backbone."""
        return {key: getattr(backbone, key) for key in self.config_keys}

    def owns(self, values: Mapping[str, Any]) -> bool:
        """Whether a backbone of this family's class, with these arguments, is of this family."""
        return True

    def config_from_keras(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """KerasHub backbone arguments from a preset's config.json.

        Raises:
            ModelError: an argument without a default is missing, or it is no text decoder.
        """
        config = {**self.keras_defaults, **{k: values[k] for k in self.config_keys if k in values}}
        reader = ConfigReader(config, "This preset's config.json")
        for key in _SIZES:
            if key in self.config_keys:
                (reader.layers if key == "num_layers" else reader.size)(key)
        reader.finish()
        return {key: config[key] for key in self.config_keys}

    def build(self, config: Mapping[str, Any], dtype: str) -> Any:
        """A KerasHub causal LM of this shape, without preprocessor, its kernels all zero.

        The caller fills them: drawing random values first would double the time and
        the memory of loading.
        """
        from kerasft.models.hub import keras_hub, zero_kernels

        models = keras_hub().models
        with zero_kernels():
            backbone = getattr(models, self.backbone_class)(
                **self.backbone_arguments(config, dtype)
            )
        self.settle(backbone)
        return getattr(models, self.causal_lm_class)(backbone=backbone, preprocessor=None)

    def backbone_arguments(self, config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
        """What the backbone's constructor is called with."""
        return {**{key: config[key] for key in self.config_keys if key in config}, "dtype": dtype}

    def settle(self, backbone: Any) -> None:  # noqa: B027 - most families have nothing to mend
        """Mends what KerasHub's constructor leaves different from the config."""

    def check_backbone(self, backbone: Any) -> None:  # noqa: B027 - most have only text decoders
        """Refuses a backbone of this class that is not a text decoder.

        Raises:
            ModelError: says what to use instead.
        """

    def blocks(self, backbone: Any) -> list[Any]:
        """The decoder blocks, first to last."""
        return list(backbone.transformer_layers)

    @abstractmethod
    def architecture(self, config: Mapping[str, Any]) -> Architecture:
        """The decoder that models of this shape are."""

    def block_kinds(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """For each decoder block "local" (sliding window) or "global" attention."""
        return ("global",) * config["num_layers"]

    def parameters(self, config: Mapping[str, Any]) -> int:
        """Number of base parameters; a tied embedding counts once."""
        return sum(spec.size for spec in self.tensors(config))

    def hf_name(self, spec: TensorSpec, known: Callable[[str], bool]) -> str:
        """The name of a tensor in a checkpoint that may wrap the text model.

        Args:
            known: says whether the checkpoint has a name.
        """
        if not spec.hf.startswith("model."):
            return spec.hf
        for prefix in self.hf_prefixes:
            if known(candidate := prefix + spec.hf.removeprefix("model.")):
                return candidate
        return spec.hf


_MOST_LAYERS = 1000
NOT_IN_LLAMA_CPP = "would be run in another way by llama.cpp"


class ConfigReader:
    """Reads settings from a foreign config and gathers what does not fit."""

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        self.values = values
        self.what = what
        self.faults: list[str] = []

    def size(self, key: str, default: int | None = None, limit: int = 2**31) -> int:
        """A whole number from 1 to `limit`; a missing or wrong one becomes a fault."""
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            self.faults.append(f"{key}: expected a whole number from 1 to {limit}, got {value!r}")
            return 1
        return value

    def layers(self, key: str) -> int:
        """A number of decoder blocks; bounded, because the tensor table grows with it."""
        return self.size(key, limit=_MOST_LAYERS)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above 0; a missing or wrong one becomes a fault."""
        value = self.values.get(key)
        if value is None:
            value = default
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value < float("inf")
        ):
            self.faults.append(f"{key}: expected a number above 0, got {value!r}")
            return 1.0
        return float(value)

    def text(self, key: str, default: str) -> str:
        """A string; a wrong one becomes a fault."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.faults.append(f"{key}: expected text, got {type(value).__name__}")
            return default
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """An object with names, empty if it is missing; anything else becomes a fault."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.faults.append(f"{key}: expected an object, got {type(value).__name__}")
            return {}
        return dict(value or {})

    def sequence(self, key: str) -> list[Any]:
        """A list, empty if it is missing; anything else becomes a fault."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            self.faults.append(f"{key}: expected a list, got {type(value).__name__}")
            return []
        return value or []

    def require(self, fits: bool, fault: str) -> None:
        """Notes a fault unless the condition holds."""
        if not fits:
            self.faults.append(fault)

    def finish(self, verdict: str = "cannot be run by KerasHub as it is") -> None:
        """Raises one ModelError for all faults, if there are any."""
        if self.faults:
            raise ModelError(collected(f"{self.what} {verdict}", self.faults))


def heads_fit(reader: ConfigReader, query: int, key_value: int) -> None:
    """Notes a fault when query heads cannot be shared out over key-value heads."""
    reader.require(
        query % key_value == 0,
        f"{query} query heads cannot be shared by {key_value} key-value heads",
    )
