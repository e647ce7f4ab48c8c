"""The model families that kerasft knows, one table each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kerasft.errors import ModelError
from kerasft.models.families.base import TARGETS, Family, TensorSpec
from kerasft.models.families.gemma import Gemma, Gemma2
from kerasft.models.families.gemma3 import Gemma3
from kerasft.models.families.llama3 import Llama3

if TYPE_CHECKING:
    from kerasft.models.gguf import GgufFile

__all__ = ["FAMILIES", "TARGETS", "Family", "TensorSpec", "of_backbone", "of_gguf", "of_hf_config"]

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Gemma(), Gemma2(), Gemma3(), Llama3())
}


def of_backbone(backbone: Any) -> Family:
    """The family of a live KerasHub backbone.

    Raises:
        ModelError: the class belongs to no supported family, or is not a text decoder.
    """
    kind = type(backbone).__name__
    for family in FAMILIES.values():
        if kind == family.backbone_class and family.owns(family.config_of(backbone)):
            family.check_backbone(backbone)
            return family
    raise _unknown(f"a {kind}")


def of_hf_config(hf: Mapping[str, Any]) -> Family:
    """The family of a Hugging Face config.json.

    Raises:
        ModelError: the model type belongs to no supported family.
    """
    model_type = hf.get("model_type")
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    raise _unknown(f"model_type {model_type!r}")


def of_gguf(file: GgufFile) -> Family:
    """The family of a GGUF file.

    Raises:
        ModelError: the architecture belongs to no supported family.
    """
    architecture = file.metadata.get("general.architecture")
    for family in FAMILIES.values():
        if architecture == family.gguf_architecture:
            return family
    raise _unknown(f"the GGUF architecture {architecture!r}")


def _unknown(what: str) -> ModelError:
    return ModelError(
        f"Found {what}, which kerasft does not support. Supported families: {', '.join(FAMILIES)}."
    )
