"""Reads what a conversion needs of a SentencePiece model file.

The file is a protocol buffer (sentencepiece_model.proto). Reading its wire format
here (https://protobuf.dev/programming-guides/encoding) spares a dependency on
protobuf, which not every platform's installation brings.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kerasft.errors import ExportError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""ModelProto.SentencePiece.Type."""
BPE = 2
"""TrainerSpec.ModelType of byte-pair encoding."""


@dataclass(frozen=True)
class Piece:
    """One token: its text, its score, and its type."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """The pieces by id, and the settings that change how text is cut.

    Attributes:
        pieces: by id.
        model_type: `BPE` or another.
        normalizer: name of the normaliser.
        character_map: whether the normaliser has a table that changes characters.
        dummy_prefix: whether a space is put before the text.
        extra_whitespace_removed: whether runs of spaces become one.
        whitespace_escaped: whether spaces are written as U+2581.
    """

    pieces: tuple[Piece, ...]
    model_type: int
    normalizer: str
    character_map: bool
    dummy_prefix: bool
    extra_whitespace_removed: bool
    whitespace_escaped: bool


def read_model(proto: bytes) -> SentencePieceModel:
    """The model in a `tokenizer.model`; absent fields have the defaults of the .proto file.

    Raises:
        ExportError: the bytes are not such a model.
    """
    pieces: list[Piece] = []
    trainer: dict[int, bytes | int] = {}
    normalizer: dict[int, bytes | int] = {}
    try:
        for field, value in _fields(proto):
            if field == 1:
                entry = dict(_fields(value))
                score = struct.unpack("<f", entry.get(2, b"\0\0\0\0"))[0]
                pieces.append(Piece(entry[1].decode("utf-8"), score, entry.get(3, NORMAL)))
            elif field == 2:
                trainer = dict(_fields(value))
            elif field == 3:
                normalizer = dict(_fields(value))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise ExportError(f"tokenizer.model is not a SentencePiece model ({error!r}).") from None
    return SentencePieceModel(
        pieces=tuple(pieces),
        model_type=trainer.get(3, 1),
        normalizer=normalizer.get(1, b"").decode("utf-8"),
        character_map=bool(normalizer.get(2, b"")),
        dummy_prefix=bool(normalizer.get(3, 1)),
        extra_whitespace_removed=bool(normalizer.get(4, 1)),
        whitespace_escaped=bool(normalizer.get(5, 1)),
    )


def settings_that_change_text(model: SentencePieceModel) -> list[str]:
    """What keeps other programs from cutting text by the pieces and their scores alone."""
    faults = []
    if model.model_type != BPE:
        faults.append("the model is not BPE")
    if model.character_map:
        faults.append(f"the normaliser is {model.normalizer or 'a table'}, not identity")
    if model.dummy_prefix:
        faults.append("a space is put before the text (add_dummy_prefix)")
    if model.extra_whitespace_removed:
        faults.append("extra spaces are removed (remove_extra_whitespaces)")
    if not model.whitespace_escaped:
        faults.append("spaces are not escaped (escape_whitespaces)")
    return faults


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) pairs: an int for varints, bytes for everything else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("cut off")
        yield field, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at
