"""A tokenizer as the arrays of a GGUF file.

llama.cpp cuts text by these arrays alone, in one of two ways: by the scores of a
SentencePiece BPE model (`tokenizer.ggml.model` "llama") or by the merges of a
byte-level BPE ("gpt2") after a split that it knows by name (`tokenizer.ggml.pre`).
A tokenizer that does neither is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kerasft.errors import ExportError, collected
from kerasft.export.sentencepiece_proto import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    read_model,
    settings_that_change_text,
)
from kerasft.models.tokenizer_files import LLAMA3_SPLIT

if TYPE_CHECKING:
    from kerasft.data.tokens import Tokenizer

PREFIX = "tokenizer.ggml."
SPACE = "\u2581"
_NEVER = -1000.0
"""The score that converters give to tokens which no merge may make."""


def tokenizer_metadata(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """The `tokenizer.ggml.` entries, without the prefix, special ids apart.

    Args:
        tokenizer: whose files are written.
        rows: of the model's embedding: llama.cpp wants one token a row, so unused
            tokens are added, and tokens without a row are left out.

    Raises:
        ExportError: llama.cpp would cut text in another way (all reasons at once).
    """
    files = tokenizer.files()
    if "tokenizer.model" in files:
        entries = _sentencepiece(files["tokenizer.model"], tokenizer.special_ids)
    else:
        entries = _byte_level(json.loads(files["tokenizer.json"]), tokenizer.special_ids)
    tokens, types, scores = entries["tokens"], entries["token_type"], entries.get("scores")
    missing = range(len(tokens), rows)
    tokens += [f"[PAD{index}]" for index in missing]
    types += [UNUSED for _ in missing]
    entries |= {"tokens": tokens[:rows], "token_type": types[:rows]}
    if scores is not None:
        entries["scores"] = (scores + [_NEVER for _ in missing])[:rows]
    return entries


def _sentencepiece(proto: bytes, special: Mapping[str, int]) -> dict[str, Any]:
    model = read_model(proto)
    faults = settings_that_change_text(model)
    if faults:
        raise ExportError(collected("This SentencePiece model cannot be written as GGUF", faults))
    turn_marks = set(special.values())
    tokens, scores, types = [], [], []
    for index, piece in enumerate(model.pieces):
        text, kind = piece.text, piece.kind
        if kind not in (NORMAL, UNKNOWN, BYTE, UNUSED) and index in turn_marks:
            kind = CONTROL  # so that the same characters in a prompt stay text
        if kind == USER_DEFINED:
            # These are looked for in the text as it came, before spaces are escaped.
            text = text.replace(SPACE, " ")
        tokens.append(text)
        types.append(kind)
        scores.append(piece.score if kind in (NORMAL, BYTE) else _NEVER)
    return {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": scores,
        "token_type": types,
        "add_space_prefix": False,
    }


def _byte_level(contents: Mapping[str, Any], special: Mapping[str, int]) -> dict[str, Any]:
    model = contents["model"]
    faults = []
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        faults.append(f"the model is {model.get('type')}, not byte-level BPE")
    if not model.get("ignore_merges"):
        faults.append("words of the vocabulary are merged too, which llama.cpp takes whole")
    if contents.get("normalizer"):
        faults.append("it normalises text")
    if not _splits_as_llama3(contents.get("pre_tokenizer")):
        faults.append("text is split otherwise than in Llama 3")
    if faults:
        raise ExportError(collected("This tokenizer.json cannot be written as GGUF", faults))
    added = {entry["id"]: entry for entry in contents.get("added_tokens", ())}
    texts = {index: text for text, index in model["vocab"].items()}
    texts |= {index: entry["content"] for index, entry in added.items()}
    marks = set(special.values())
    tokens, types = [], []
    for index in range(max(texts) + 1):
        tokens.append(texts.get(index, f"[PAD{index}]"))
        if index not in texts:
            types.append(UNUSED)
        elif index not in added:
            types.append(NORMAL)
        else:
            control = added[index].get("special") or index in marks
            types.append(CONTROL if control else USER_DEFINED)
    return {
        "model": "gpt2",
        "pre": "llama-bpe",
        "tokens": tokens,
        "token_type": types,
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
    }


def _splits_as_llama3(pre_tokenizer: Any) -> bool:
    """Whether a pre-tokeniser is Llama 3's split, then bytes without a split of their own."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [])
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, to_bytes = steps
    return (
        split.get("pattern") == {"Regex": LLAMA3_SPLIT}
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
        and not to_bytes.get("add_prefix_space")
        and to_bytes.get("use_regex") is False
    )
