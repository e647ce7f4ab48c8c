"""Tokenizer files rebuilt from a vocabulary: a SentencePiece model, a tokenizer.json.

GGUF files and KerasHub presets hold the pieces of a tokenizer, not the file that
other programs read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache

PIECE_TYPES = range(1, 7)
"""Normal, unknown, control, user-defined, unused and byte, in SentencePiece and in GGUF."""
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_BPE = 2  # TrainerSpec.ModelType
_SPECIAL = re.compile(r"<\|.*\|>", re.DOTALL)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How the Llama 3 release splits text before byte-pair merging."""


def sentencepiece_model(
    pieces: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    ids: Mapping[str, int],
) -> bytes:
    """A SentencePiece BPE model with byte fallback, as Gemma's `tokenizer.model` is.

    Text passes unchanged (identity normaliser, no space put before it). CONTROL
    pieces other than bos, eos and pad become user-defined: as control pieces they
    could not be found by name in text, and `<start_of_turn>` would be cut into letters.

    Args:
        pieces, scores, types: one entry a token; types as in GGUF.
        ids: ids of `unk`, `bos`, `eos` and `pad`.

    Returns:
        The protocol buffer of sentencepiece_model.proto, field by field.
    """
    control = {ids[name] for name in ("bos", "eos", "pad")}
    model = bytearray()
    for index, (piece, score, kind) in enumerate(zip(pieces, scores, types, strict=True)):
        if index == ids["unk"]:
            kind = _UNKNOWN
        elif kind == _CONTROL and index not in control:
            kind = _USER_DEFINED
        if kind == _USER_DEFINED:
            # GGUF writers turn the ▁ of these pieces, runs of spaces among them, into the
            # space that it stands for; SentencePiece looks them up with ▁.
            piece = piece.replace(" ", "\u2581")
        entry = _text(1, piece) + _float(2, score) + _integer(3, kind)
        model += _message(1, entry)
    trainer = _integer(3, _BPE) + _integer(4, len(pieces)) + _integer(35, 1)
    for field, name in zip((40, 41, 42, 43), ("unk", "bos", "eos", "pad"), strict=True):
        trainer += _integer(field, ids[name]) + _text(field + 5, pieces[ids[name]])
    normalizer = _text(1, "identity") + _integer(3, 0) + _integer(4, 0) + _integer(5, 1)
    model += _message(2, trainer) + _message(3, normalizer)
    return bytes(model)


def llama3_tokenizer_json(vocabulary: Mapping[str, int], merges: Sequence[str]) -> bytes:
    """A `tokenizer.json` for Llama 3's byte-level BPE.

    Args:
        vocabulary: id of each token; those written `<|…|>` become special tokens.
        merges: "left right", in order of rank.
    """
    special = {token: index for token, index in vocabulary.items() if _SPECIAL.fullmatch(token)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": token, **flags, "special": True}
            for token, index in sorted(special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": LLAMA3_SPLIT},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            # The special tokens too: those that stand elsewhere get ids after the last one.
            "vocab": dict(vocabulary),
            "merges": list(merges),
        },
    }
    return json.dumps(tokenizer, ensure_ascii=False).encode("utf-8")


@cache
def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode("utf-8"))
