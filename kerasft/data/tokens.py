"""Tokenizers: text to token ids and back, without a framework.

Two file formats are read: a SentencePiece model (Gemma) and a `tokenizer.json`
(Llama 3). Text never becomes a special token here: a question that contains
`<end_of_turn>` must not end the turn, so markers only come from a template, by
their id.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerasft.errors import DataError

MARKER = re.compile(
    r"<\|[^\s<>|]+\|>|<\|\w+>|<\w+\|>|<(?:mask|\w+_\w+|unused\d+)>|\[(?:multimodal|@BOS@)\]"
)
"""How turn, image and reserved markers are written in the vocabularies that we read.

SentencePiece stores them as user-defined pieces, which it also does with runs of
white space and HTML tags; those are ordinary text.
"""

_LINE = re.compile(r"[^\n]+\n*|\n+")
"""A line with all line ends that follow it."""

_LONGEST_CHARACTER = 4  # bytes of one UTF-8 character, each of which may be a token


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
        vocabulary_size: number of ids; a model's embedding may have more rows.
        pad_id, bos_id, eos_id: ids of the padding, first and last token.
        special_ids: id of each special token by its text, `<bos>` and turn markers among them.
    """

    vocabulary_size: int
    pad_id: int
    bos_id: int
    eos_id: int
    special_ids: dict[str, int]

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as plain text: no BOS, no EOS, no special id whatever it contains."""

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of many texts, each int32 (length,), by all cores."""

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or written by their names."""

    def files(self) -> dict[str, bytes]:
        """The files that make this tokenizer again, by file name."""


class SentencePieceTokenizer:
    """A SentencePiece model, such as Gemma's `tokenizer.model`.

    Args:
        proto: the model file's bytes.

    Raises:
        DataError: the bytes are no SentencePiece model, or one that lacks BOS or
            EOS or puts a space before every text.
    """

    def __init__(self, proto: bytes) -> None:
        import sentencepiece

        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(
                f"the tokenizer is not a SentencePiece model ({error}); download the model again"
            ) from error
        if model.bos_id() < 0 or model.eos_id() < 0:
            raise DataError("the SentencePiece model has no BOS or no EOS token")
        if model.encode("a", out_type=str)[0].startswith("▁"):
            # Text is encoded in parts, so a space put before each would add tokens.
            raise DataError(
                "the SentencePiece model puts a space before every text (add_dummy_prefix); "
                "Gemma's and Llama 3's tokenizers, which do not, are supported"
            )
        self._proto = proto
        self._model = model
        self.vocabulary_size: int = model.get_piece_size()
        self.bos_id: int = model.bos_id()
        self.eos_id: int = model.eos_id()
        self.pad_id: int = model.pad_id() if model.pad_id() >= 0 else self.eos_id
        pieces = [model.id_to_piece(index) for index in range(self.vocabulary_size)]
        self.special_ids: dict[str, int] = {
            piece: index
            for index, piece in enumerate(pieces)
            if model.is_control(index) or model.is_unknown(index) or MARKER.fullmatch(piece)
        }
        self._names = {index: name for name, index in self.special_ids.items()}
        self._literal = _literal_pattern(self.special_ids)
        self._lines_apart = _no_piece_crosses_lines(model, pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as plain text: no BOS, no EOS, no special id whatever it contains."""
        ids: list[int] = []
        for part in _without_markers(text, self._literal):
            ids.extend(self._model.encode(part))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of many texts, each int32 (length,), by all cores.

        Where no token crosses the end of a line, a line that many texts share, such as
        one of a schema, is encoded once.
        """
        cut = [_without_markers(text, self._literal) for text in texts]
        if self._lines_apart:
            cut = [[line for part in parts for line in _LINE.findall(part)] for parts in cut]

        def encode(parts: list[str]) -> list[list[int]]:
            return self._model.encode(parts, num_threads=os.cpu_count() or 1)

        return _joined(cut, encode)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or written by their names."""
        return _decode(ids, skip_special, self._names, self.vocabulary_size, self._model.decode)

    def files(self) -> dict[str, bytes]:
        """`{"tokenizer.model": bytes}`."""
        return {"tokenizer.model": self._proto}


class TokenizerJson:
    """A `tokenizer.json` of the `tokenizers` package, such as Llama 3's.

    Args:
        json_bytes: the file's bytes.
        bos, eos: texts of the first and last token.
        pad: text of the padding token; EOS where there is none, which the padding
            mask makes harmless.

    Raises:
        DataError: the bytes cannot be read, or a named token is not in them.
    """

    def __init__(self, json_bytes: bytes, bos: str, eos: str, pad: str | None = None) -> None:
        import tokenizers

        try:
            model = tokenizers.Tokenizer.from_str(json_bytes.decode("utf-8"))
        except Exception as error:  # the package raises bare Exception
            raise DataError(f"tokenizer.json cannot be read: {error}") from error
        self._json = json_bytes
        self._model = model
        self.vocabulary_size: int = model.get_vocab_size(with_added_tokens=True)
        self.special_ids: dict[str, int] = {
            token.content: index
            for index, token in sorted(model.get_added_tokens_decoder().items())
            if token.special or MARKER.fullmatch(token.content)
        }
        wanted = {"bos": bos, "eos": eos, "pad": pad if pad is not None else eos}
        missing = [f"{name} {text!r}" for name, text in wanted.items() if self._id(text) is None]
        if missing:
            raise DataError(f"tokenizer.json has no token for {', '.join(missing)}")
        self.bos_id: int = model.token_to_id(wanted["bos"])
        self.eos_id: int = model.token_to_id(wanted["eos"])
        self.pad_id: int = model.token_to_id(wanted["pad"])
        self.special_ids |= {text: model.token_to_id(text) for text in wanted.values()}
        self._names = {index: name for name, index in self.special_ids.items()}
        self._literal = _literal_pattern(self.special_ids)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as plain text: no BOS, no EOS, no special id whatever it contains."""
        ids: list[int] = []
        for part in _without_markers(text, self._literal):
            ids.extend(self._model.encode(part, add_special_tokens=False).ids)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of many texts, each int32 (length,), by all cores; repeated ones once."""

        def encode(parts: list[str]) -> list[list[int]]:
            encodings = self._model.encode_batch_fast(parts, add_special_tokens=False)
            return [encoding.ids for encoding in encodings]

        return _joined([_without_markers(text, self._literal) for text in texts], encode)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or written by their names."""

        def text_of(plain: list[int]) -> str:
            return self._model.decode(plain, skip_special_tokens=False)

        return _decode(ids, skip_special, self._names, self.vocabulary_size, text_of)

    def files(self) -> dict[str, bytes]:
        """`{"tokenizer.json": bytes}`."""
        return {"tokenizer.json": self._json}

    def _id(self, text: str) -> int | None:
        return self._model.token_to_id(text)


class StreamDecoder:
    """Text of ids that come one by one; never half of a UTF-8 character.

    Args:
        tokenizer: whose ids come.
        skip_special: leave special tokens out.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._ids: list[int] = []
        self._shown = 0  # how many of the ids have been returned as text

    def push(self, token_id: int) -> str:
        """The text that is complete with this id; empty in the middle of a character."""
        self._ids.append(token_id)
        waiting = len(self._ids) - self._shown
        text = self._new_text()
        # A character in the vocabulary's text may truly be U+FFFD: it is held no
        # longer than the bytes of a real character could take.
        if text.endswith("\ufffd") and waiting < _LONGEST_CHARACTER:
            return ""
        self._advance()
        return text

    def flush(self) -> str:
        """What is left at the end; a broken character comes as U+FFFD."""
        text = self._new_text()
        self._advance()
        return text

    def _new_text(self) -> str:
        # Decoded with the ids before them: some decoders treat the first id differently.
        before = self._tokenizer.decode(self._ids[: self._shown], self._skip_special)
        return self._tokenizer.decode(self._ids, self._skip_special)[len(before) :]

    def _advance(self) -> None:
        del self._ids[: self._shown]
        self._shown = len(self._ids)


def from_folder(path: Path) -> Tokenizer:
    """The tokenizer of a model folder: `tokenizer.model`, else `tokenizer.json`.

    `tokenizer.json` needs `tokenizer_config.json` beside it, which names BOS and EOS.

    Raises:
        DataError: neither file is there, or one cannot be read.
    """
    path = Path(path)
    if (path / "tokenizer.model").is_file():
        return SentencePieceTokenizer((path / "tokenizer.model").read_bytes())
    file, config_file = path / "tokenizer.json", path / "tokenizer_config.json"
    missing = [each.name for each in (file, config_file) if not each.is_file()]
    if missing:
        raise DataError(
            f"no tokenizer in {path}: expected tokenizer.model, or tokenizer.json with "
            f"tokenizer_config.json; missing: {', '.join(missing)}"
        )
    try:
        config = json.loads(config_file.read_bytes())
    except ValueError as error:
        raise DataError(f"{config_file} is not JSON: {error}") from error
    bos, eos = _token_text(config, "bos_token"), _token_text(config, "eos_token")
    if bos is None or eos is None:
        raise DataError(f"{config_file} names no bos_token or no eos_token")
    return TokenizerJson(file.read_bytes(), bos, eos, _token_text(config, "pad_token"))


def _token_text(config: Mapping[str, object], key: str) -> str | None:
    token = config.get(key)
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None


def _literal_pattern(markers: Iterable[str]) -> re.Pattern[str]:
    """Finds the first marker in text; numbered families as one."""
    families = {re.sub(r"\d+", r"\\d+", re.escape(marker)) for marker in markers}
    return re.compile("|".join(sorted(families, key=len, reverse=True)))


def _no_piece_crosses_lines(model: Any, pieces: Iterable[str]) -> bool:
    """Whether the ids of a text are those of its lines, one after the other.

    A token is made by joining pieces into a longer one of the vocabulary. Where none
    holds a line end beside another character, nothing is ever joined across the two.
    The sample says whether the model's normaliser leaves the ends of lines alone.
    """
    if any(piece.strip("\n") for piece in pieces if "\n" in piece):
        return False
    sample = " a  b \n\n\n  c\t\n\td\n"
    apart = [index for line in _LINE.findall(sample) for index in model.encode(line)]
    known = model.is_byte(model.encode("\n")[-1]) or model.piece_to_id("\n") != model.unk_id()
    return known and apart == model.encode(sample)


def _joined(
    cut: Sequence[Sequence[str]], encode: Callable[[list[str]], list[list[int]]]
) -> list[np.ndarray]:
    """Ids of texts that were cut into parts, int32; each different part is encoded once."""
    parts = list(dict.fromkeys(itertools.chain.from_iterable(cut)))
    ids = {
        part: np.array(found, np.int32).tobytes()
        for part, found in zip(parts, encode(parts), strict=True)
    }
    return [np.frombuffer(b"".join([ids[part] for part in text]), np.int32) for text in cut]


def _without_markers(text: str, pattern: re.Pattern[str]) -> list[str]:
    """`text` cut after the first character of every marker, so that no part holds a whole one."""
    cuts: list[int] = []
    # Each search starts one character on, since markers may overlap.
    while match := pattern.search(text, cuts[-1] if cuts else 0):
        cuts.append(match.start() + 1)
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges) if start < end]


def _decode(
    ids: Sequence[int],
    skip_special: bool,
    names: Mapping[int, str],
    vocabulary_size: int,
    text_of: Callable[[list[int]], str],
) -> str:
    """Runs of plain ids through `text_of`, special ones by name; unused rows are left out."""
    parts: list[str] = []
    run: list[int] = []
    for index in map(int, ids):
        if index in names or not 0 <= index < vocabulary_size:
            if run:
                parts.append(text_of(run))
                run = []
            parts.append("" if skip_special else names.get(index, ""))
        else:
            run.append(index)
    if run:
        parts.append(text_of(run))
    return "".join(parts)
