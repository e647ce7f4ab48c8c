"""Everything that a GGUF file says beside its tensors.

Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md) and the keys
that llama.cpp's converter writes for the same models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerasft.export.gguf_tokenizer import PREFIX, SPACE, tokenizer_metadata
from kerasft.export.sentencepiece_proto import NORMAL
from kerasft.export.views import stop_ids

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView

ENDS_BY_NAME = ("<end_of_turn>", "<|eot_id|>")
"""Tokens on which llama.cpp stops whatever the metadata says."""

_QUANTIZATION_VERSION = 2
_FILE_TYPES = {"float32": 0, "float16": 1, "q8_0": 7, "bfloat16": 32}
"""By dtype of the weights: llama.cpp's `LLAMA_FTYPE_*`."""


def metadata(weights: WeightsView, dtype: str) -> dict[str, Any]:
    """All entries of the file but `general.architecture`, by their full names.

    Args:
        weights: the trained model.
        dtype: of the weights.

    Raises:
        ModelError: llama.cpp would run this model in another way.
        ExportError: llama.cpp would cut text in another way.
    """
    family, tokenizer = weights.family, weights.tokenizer
    shape = family.gguf_metadata(weights.config)
    words = tokenizer_metadata(tokenizer, weights.config["vocabulary_size"])
    stops = stop_ids(weights)
    words |= {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stops[0],
        "eot_token_id": stops[-1],
        "padding_token_id": tokenizer.pad_id,
        "add_bos_token": True,
        "add_eos_token": False,
    }
    if (unknown := tokenizer.special_ids.get("<unk>")) is not None:
        words["unknown_token_id"] = unknown
    entries = {
        "general.type": "model",
        "general.name": f"{weights.base_id} fine-tuned",
        "general.license.name": family.licence,
        "general.license.link": family.licence_page,
        "general.base_model.count": 1,
        "general.base_model.0.name": weights.base_id,
        "general.quantization_version": _QUANTIZATION_VERSION,
        "general.file_type": _FILE_TYPES[dtype],
    }
    entries |= {f"{family.gguf_architecture}.{key}": value for key, value in shape.items()}
    entries |= {PREFIX + key: value for key, value in words.items()}
    if (turns := weights.template.chat_template()) is not None:
        entries["tokenizer.chat_template"] = turns
    return entries


def found_stop_ids(entries: Mapping[str, Any]) -> list[int]:
    """The ids on which llama.cpp ends an answer, EOS first.

    Args:
        entries: a file's metadata; without an end of turn among them llama.cpp looks
            for one by its name.
    """
    found = [entries.get(PREFIX + "eos_token_id")]
    if (turn := entries.get(PREFIX + "eot_token_id")) is not None:
        found.append(turn)
    else:
        tokens: Sequence[str] = entries.get(PREFIX + "tokens", ())
        found += [tokens.index(name) for name in ENDS_BY_NAME if name in tokens]
    return list(dict.fromkeys(int(each) for each in found if each is not None))


def metadata_faults(found: Mapping[str, Any], weights: WeightsView) -> list[str]:
    """How a file's metadata make another model than the trained one.

    What only names the model (`general.`), or bounds how much text it is given
    (`context_length`), is left out.

    Args:
        found: the file's entries by their full names.
    """
    family = weights.family
    expected = metadata(weights, "float32")
    own = f"{family.gguf_architecture}."
    architecture = found.get("general.architecture")
    if architecture != family.gguf_architecture:
        return [f"the architecture is {architecture!r}, not {family.gguf_architecture!r}"]
    faults = []
    shape = {key for key in expected if key.startswith(own)} | {own + key for key in _UNWANTED}
    for key in sorted(shape - {own + key for key in _WITHOUT_EFFECT}):
        default = _DEFAULTS.get(key.removeprefix(own))
        have, wanted = found.get(key, default), expected.get(key, default)
        if not _same(have, wanted):
            faults.append(f"{key} is {have}, not {wanted}")
    for key in ("model", "pre", "tokens", "scores", "merges"):
        faults += _list_faults(PREFIX + key, found, expected)
    for key, default in _FRAMING.items():
        if PREFIX + key in expected:
            have, wanted = found.get(PREFIX + key, default), expected[PREFIX + key]
            if have != wanted:
                faults.append(f"{PREFIX}{key} is {have}, not {wanted}")
    stops, wanted = found_stop_ids(found), stop_ids(weights)
    if set(stops) != set(wanted) or stops[0] != wanted[0]:
        faults.append(f"generation stops at the ids {stops}; it was trained to stop at {wanted}")
    template = "tokenizer.chat_template"
    if template in expected and found.get(template) != expected[template]:
        faults.append(f"{template} is not that of the turns that were trained")
    return faults


_WITHOUT_EFFECT = ("context_length", "vocab_size")
_UNWANTED = (
    "attention.sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.factor",
)
"""Keys that change what is computed where they are not expected."""
_DEFAULTS: Mapping[str, Any] = {
    "rope.freq_base": 10_000.0,
    "rope.freq_base_swa": 10_000.0,
    "rope.scaling.factor": 1.0,
}
_FRAMING: Mapping[str, Any] = {
    "bos_token_id": None,
    "add_bos_token": True,
    "add_eos_token": False,
    "add_space_prefix": True,
}
"""What llama.cpp takes for a key that is missing, of the model's shape and of its words."""


def _same(found: Any, wanted: Any) -> bool:
    """Whether two values are the same number, seven digits of which a file keeps, or text."""
    if isinstance(wanted, str) or isinstance(found, str) or None in (found, wanted):
        return found == wanted
    return abs(float(found) - float(wanted)) <= 1e-6 * abs(float(wanted))


def _list_faults(key: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    have, wanted = found.get(key), expected.get(key)
    if wanted is None or isinstance(wanted, str):
        return [] if wanted is None or have == wanted else [f"{key} is {have!r}, not {wanted!r}"]
    if have is None or len(have) != len(wanted):
        return [f"{key} has {len(have or ())} entries, not {len(wanted)}"]
    if isinstance(wanted[0], str):
        # Some converters leave the escaped spaces of user-defined pieces as they are.
        pairs = enumerate(zip(have, wanted, strict=True))
        wrong = [index for index, (a, b) in pairs if a.replace(SPACE, " ") != b.replace(SPACE, " ")]
    else:
        # Only pieces that are made by joining have a score that matters.
        kinds = expected[PREFIX + "token_type"]
        scores = enumerate(zip(have, wanted, kinds, strict=True))
        wrong = [index for index, (a, b, kind) in scores if kind == NORMAL and not _same(a, b)]
    return [f"{key} differs at {len(wrong)} ids, first at {wrong[0]}"] if wrong else []
