"""The files of a tokenizer that transformers loads.

A SentencePiece BPE model is rewritten as a `tokenizer.json` of the `tokenizers`
library. The file is plain JSON, so neither that library nor transformers is needed
to write it; `verify.py` proves that both give the same ids.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kerasft.errors import ExportError, collected
from kerasft.export.sentencepiece_proto import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    SentencePieceModel,
    read_model,
    settings_that_change_text,
)

SPACE = "\u2581"
"""What SentencePiece writes for a space."""


@dataclass(frozen=True)
class Marks:
    """The texts of the tokens that frame a sequence; None where a tokenizer has none."""

    bos: str | None
    eos: str | None
    pad: str | None
    unknown: str | None


def tokenizer_files(
    files: Mapping[str, bytes],
    *,
    bos_id: int | None,
    eos_id: int | None,
    pad_id: int | None,
    special: Iterable[str],
    chat_template: str | None,
    max_length: int,
) -> dict[str, bytes]:
    """Everything beside the weights that transformers' AutoTokenizer reads.

    Args:
        files: the tokenizer's own files: `tokenizer.model` or `tokenizer.json`.
        bos_id: id of the token that starts a sequence; None for "has none", as the next two.
        eos_id: id of the token that ends a text.
        pad_id: id of the padding token.
        special: texts of tokens that decoding may skip (turn marks).
        chat_template: Jinja source for `chat_template.jinja`; None writes no such file.
        max_length: the longest sequence the model was made for, in tokens.

    Returns:
        File name → content, the given files among them.

    Raises:
        ExportError: neither file is given, or the SentencePiece model has a
            setting that `tokenizer.json` cannot express.
    """
    written = dict(files)
    if "tokenizer.json" not in written:
        if "tokenizer.model" not in written:
            raise ExportError(
                "Expected the tokenizer as tokenizer.model or tokenizer.json; got "
                f"{', '.join(sorted(files)) or 'no file'}."
            )
        fast = fast_from_sentencepiece(written["tokenizer.model"], special=special)
    else:
        fast = json.loads(written["tokenizer.json"])
    marks = _marks(fast, bos_id, eos_id, pad_id)
    if marks.bos is not None and "TemplateProcessing" not in json.dumps(fast["post_processor"]):
        fast["post_processor"] = _starts_with(marks.bos, bos_id, after=fast["post_processor"])
        written["tokenizer.json"] = json.dumps(fast, ensure_ascii=False).encode()
    texts = {
        "bos_token": marks.bos,
        "eos_token": marks.eos,
        "pad_token": marks.pad,
        "unk_token": marks.unknown,
    }
    texts = {key: text for key, text in texts.items() if text is not None}
    # The class that takes tokenizer.json as it stands: the class named after the
    # model rebuilds normaliser and pre-tokeniser from its own defaults.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bos_id is not None,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "padding_side": "left",
        # llama.cpp's converter reads here which pieces are special, and which are never cut.
        "added_tokens_decoder": {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in fast.get("added_tokens", ())
        },
        **texts,
    }
    written["tokenizer_config.json"] = _json(settings)
    written["special_tokens_map.json"] = _json(texts)
    if chat_template is not None:
        written["chat_template.jinja"] = chat_template.encode()
    return written


def fast_from_sentencepiece(proto: bytes, *, special: Iterable[str] = ()) -> dict:
    """The content of a `tokenizer.json` with the ids of a SentencePiece BPE model.

    SentencePiece joins, again and again, the neighbours whose joined piece has the
    highest score, the leftmost first; pieces that users defined are cut out before
    and never joined. The BPE of `tokenizers` joins by the rank of a pair, so each
    way to cut a piece in two becomes a pair, ranked by the piece's score.

    Args:
        proto: a serialised `sentencepiece.ModelProto`.
        special: texts of user-defined pieces that decoding may skip.

    Returns:
        The parsed file, with no post-processor: nothing is put before the text.

    Raises:
        ExportError: a setting that cannot be expressed, all of them at once.
    """
    model = read_model(proto)
    _refuse(model)
    skipped = set(special)
    normal = {piece.text: piece.score for piece in model.pieces if piece.kind == NORMAL}
    added = [
        _added(index, piece.text, special=piece.kind != USER_DEFINED or piece.text in skipped)
        for index, piece in enumerate(model.pieces)
        # A piece with a plain space never matches: spaces are escaped before it is looked for.
        if piece.kind in (UNKNOWN, CONTROL, USER_DEFINED) and " " not in piece.text
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": next((p.text for p in model.pieces if p.kind == UNKNOWN), None),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(piece.kind == BYTE for piece in model.pieces),
            "ignore_merges": False,
            "vocab": {piece.text: index for index, piece in enumerate(model.pieces)},
            "merges": _merges(normal),
        },
    }


def _refuse(model: SentencePieceModel) -> None:
    """Raises for what `tokenizer.json` would tokenise in another way."""
    faults = settings_that_change_text(model)
    if any(piece.kind == UNUSED for piece in model.pieces):
        faults.append("pieces are marked as unused")
    if faults:
        raise ExportError(
            collected("This SentencePiece model cannot be written as a tokenizer.json", faults)
        )


def _merges(normal: Mapping[str, float]) -> list[list[str]]:
    """Every pair of pieces whose joined text is a piece, by falling score of the joined one."""
    ranked = []
    for order, (piece, score) in enumerate(normal.items()):
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                ranked.append((-score, order, cut, left, right))
    ranked.sort()
    return [[left, right] for *_, left, right in ranked]


def _added(index: int, text: str, *, special: bool) -> dict:
    # Matched after the normaliser, as pieces such as three escaped spaces are written
    # in its alphabet; special ones are matched in the raw text, as transformers does.
    return {
        "id": index,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": not special,
        "special": special,
    }


def _starts_with(text: str, index: int, *, after: dict | None) -> dict:
    """A post-processor that puts one BOS before each text, after the one there is."""
    mark = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    template = {
        "type": "TemplateProcessing",
        "single": [mark, first],
        "pair": [mark, first, mark, second],
        "special_tokens": {text: {"id": text, "ids": [index], "tokens": [text]}},
    }
    return template if after is None else {"type": "Sequence", "processors": [after, template]}


def _marks(fast: Mapping, bos_id: int | None, eos_id: int | None, pad_id: int | None) -> Marks:
    """The texts of the framing ids, looked up in a parsed `tokenizer.json`."""
    texts = {index: text for text, index in fast["model"]["vocab"].items()}
    texts |= {entry["id"]: entry["content"] for entry in fast.get("added_tokens", ())}

    def text(name: str, index: int | None) -> str | None:
        if index is None or index < 0:
            return None
        if index not in texts:
            raise ExportError(f"The tokenizer has no token for its {name} id {index}.")
        return texts[index]

    return Marks(
        bos=text("bos", bos_id),
        eos=text("eos", eos_id),
        pad=text("pad", pad_id),
        unknown=fast["model"].get("unk_token"),
    )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
