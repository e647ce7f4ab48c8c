"""The small files of a KerasHub preset: its configs and its tokenizer.

They are what `save_to_preset` of KerasHub 0.32 writes (keras_hub/src/utils/preset_utils.py),
mended where that loses something: Llama 3's tied embeddings and its end token. Writing them
needs no Keras and no backbone in memory; the tests hold them against KerasHub's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from kerasft.errors import ExportError

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView

TOKENIZER = "assets/tokenizer/"
SEQUENCE_LENGTH = 1024
"""Tokens that KerasHub's preprocessors cut and pad to where the caller names no length."""

_TEXT_ONLY: Mapping[str, Mapping[str, Any]] = {
    "gemma3": {
        "image_size": None,
        "vision_encoder": None,
        "use_bidirectional_attention": False,
        "is_embedding_model": False,
        "pooling_intermediate_dim": None,
        "embedding_dim": None,
    }
}
"""Arguments of a backbone that a text decoder leaves off."""

_LLAMA_ENDS = ("<|end_of_text|>", "<|eot_id|>")
_LLAMA_MARKS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
"""Tokens that `Llama3Tokenizer` looks up in every vocabulary."""


def small_files(weights: WeightsView, dtype: str) -> dict[str, bytes]:
    """File name → content of everything but the weights.

    Args:
        weights: whose config and tokenizer are written.
        dtype: of the weights.

    Raises:
        ExportError: KerasHub's tokenizer class cannot hold the tokenizer.
    """
    family, config = weights.family, weights.config
    arguments = {**config, **_TEXT_ONLY.get(family.name, {}), "dropout": 0}
    backbone = _layer(family.backbone_class, arguments, dtype)
    tokenizer, assets = _tokenizer(weights)
    preprocessor = _preprocessor(family.causal_lm_class, tokenizer)
    task = _object(
        family.causal_lm_class,
        {
            "backbone": backbone,
            "preprocessor": preprocessor,
            "name": _snake(family.causal_lm_class),
        },
    )
    metadata = {
        "keras_version": version("keras"),
        "keras_hub_version": version("keras-hub"),
        "parameter_count": family.parameters(config),
        "date_saved": datetime.now(UTC).strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["CausalLM"],
    }
    configs = {
        "config.json": backbone,
        "tokenizer.json": tokenizer,
        "preprocessor.json": preprocessor,
        "task.json": task,
        "metadata.json": metadata,
    }
    written = {name: json.dumps(value, indent=4).encode() for name, value in configs.items()}
    return written | {f"{TOKENIZER}{name}": content for name, content in assets.items()}


def _preprocessor(causal_lm_class: str, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    images = {}
    if causal_lm_class == "Gemma3CausalLM":
        images = {"num_vision_tokens_per_image": 256, "max_images_per_prompt": 2}
    arguments = {
        "tokenizer": tokenizer,
        "config_file": "preprocessor.json",
        "sequence_length": SEQUENCE_LENGTH,
        "add_start_token": True,
        "add_end_token": True,
        **images,
    }
    return _layer(f"{causal_lm_class}Preprocessor", arguments, "float32")


def _tokenizer(weights: WeightsView) -> tuple[dict[str, Any], dict[str, bytes]]:
    """KerasHub's tokenizer as an object, and its assets by file name."""
    name = weights.family.causal_lm_class.replace("CausalLM", "Tokenizer")
    files = weights.tokenizer.files()
    common = {"config_file": "tokenizer.json", "sequence_length": None}
    if "tokenizer.model" in files:
        _check_marks(weights)
        arguments = common | {"proto": None, "add_bos": False, "add_eos": False}
        if name == "Gemma3Tokenizer":
            arguments["has_vision_tokens"] = False
        return _layer(name, arguments, "int32"), {"vocabulary.spm": files["tokenizer.model"]}
    arguments, assets = _byte_pairs(json.loads(files["tokenizer.json"]), weights)
    return _layer(name, common | {"add_prefix_space": False} | arguments, "int32"), assets


def _check_marks(weights: WeightsView) -> None:
    """KerasHub finds Gemma's first and last token by name, whatever the model file says."""
    tokenizer = weights.tokenizer
    for name, wanted in (("<bos>", tokenizer.bos_id), ("<eos>", tokenizer.eos_id)):
        found = tokenizer.special_ids.get(name)
        if found != wanted:
            raise ExportError(
                f"KerasHub's Gemma tokenizers take {name} for what frames a text; its id is "
                f"{found} here and the model was trained with {wanted}. Export it with --to hf."
            )


def _byte_pairs(
    tokenizer: Mapping[str, Any], weights: WeightsView
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Arguments of `Llama3Tokenizer`, its vocabulary and its merges, from tokenizer.json."""
    model, added = tokenizer["model"], tokenizer["added_tokens"]
    special = {token["content"]: token["id"] for token in added}
    vocabulary = {**model["vocab"], **special}
    names = {index: token for token, index in vocabulary.items()}
    begin, end = (names[index] for index in (weights.tokenizer.bos_id, weights.tokenizer.eos_id))
    wanted = {*_LLAMA_MARKS, end, *(_LLAMA_ENDS if end == _LLAMA_ENDS[0] else ())}
    missing = sorted(wanted - vocabulary.keys())
    if model.get("type") != "BPE" or begin != _LLAMA_MARKS[0] or missing:
        raise ExportError(
            "KerasHub's Llama3Tokenizer expects Llama 3's byte pairs, with "
            f"{', '.join(sorted({*_LLAMA_MARKS, *_LLAMA_ENDS}))}; this vocabulary begins texts "
            f"with {begin} and lacks {', '.join(missing) or 'none'}. Export it with --to hf."
        )
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    arguments: dict[str, Any] = {"unsplittable_tokens": list(special)}
    if end != _LLAMA_ENDS[0]:
        # `get_config` leaves it out; the constructor would take <|end_of_text|>.
        arguments["eos_token"] = end
    return arguments, {
        "vocabulary.json": json.dumps(vocabulary).encode(),
        "merges.txt": "".join(f"{merge}\n" for merge in merges).encode(),
    }


def _layer(class_name: str, arguments: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A layer in Keras' serialised form."""
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    common = {"name": _snake(class_name), "trainable": True, "dtype": policy}
    return _object(class_name, common | dict(arguments))


def _object(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    package = re.match(r"Gemma3|Gemma|Llama3", class_name)
    room = package[0].lower() if package else ""
    return {
        "module": f"keras_hub.src.models.{room}.{_snake(class_name)}",
        "class_name": class_name,
        "config": dict(config),
        "registered_name": f"keras_hub>{class_name}",
    }


def _snake(name: str) -> str:
    """Gemma3CausalLMPreprocessor → gemma3_causal_lm_preprocessor."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=LM)(?=[A-Z])", "_", name).lower()
