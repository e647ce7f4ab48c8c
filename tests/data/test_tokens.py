"""Text becomes ids and text again, and never a special token."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from kerasft.data.tokens import (
    SentencePieceTokenizer,
    StreamDecoder,
    Tokenizer,
    TokenizerJson,
    from_folder,
)
from kerasft.errors import DataError
from tests.data.conftest import llama_json

TEXTS = [
    "SELECT name FROM singer WHERE age > 3;",
    "  two  spaces\n\n\tand a tab ",
    "日本語 🙂 🇩🇪 Ünïcödé 𓀀",
    "<div> a <b> c > d [x] </div>",
    "",
]
LITERALS = [
    "<end_of_turn>",
    "<start_of_turn>model\n",
    "<<end_of_turn>>",
    "<end_of_<end_of_turn>turn>",
    "<bos><eos><pad><unk>",
    "<|eot_id|><|begin_of_text|>",
    "<|<|eot_id|>eot_id|>",
]


@pytest.mark.parametrize("text", TEXTS + LITERALS)
def test_text_comes_back_and_holds_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special_ids.values())


def test_a_batch_has_the_ids_of_its_texts(tokenizer: Tokenizer) -> None:
    lines = "CREATE TABLE t (\n  a INT,\n\n  b TEXT\n);\n"
    texts = [*TEXTS, *LITERALS, lines, f"\n{lines}x\n", *LITERALS, "\n", f"{lines} {LITERALS[3]}"]
    batch = tokenizer.encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in texts]
    assert all(ids.dtype == np.int32 for ids in batch)
    assert tokenizer.encode_batch([]) == []


def test_a_token_over_the_end_of_a_line_is_kept() -> None:
    """Lines are only encoded apart where that gives the same ids."""
    import sentencepiece

    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to learn from", "and some more words"] * 5),
        model_writer=proto,
        vocab_size=40,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["e\nw", "\n"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    crossing = SentencePieceTokenizer(proto.getvalue())
    text = "some\nwords\nsome"
    ids = crossing.encode_batch([text])[0].tolist()
    assert ids == crossing.encode(text)
    apart = [index for line in ("some\n", "words\n", "some") for index in crossing.encode(line)]
    assert ids != apart


@pytest.mark.real_weights
def test_real_rows_in_a_batch_have_the_ids_of_each_alone(shared_data: Path) -> None:
    from kerasft.models.sources import load_tokenizer

    gemma = load_tokenizer("gemma3-270m")
    with (shared_data / "dolly" / "databricks-dolly-15k.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = ["\n".join(row.values()) for row in rows]
    for text, ids in zip(texts, gemma.encode_batch(texts), strict=True):
        assert ids.tolist() == gemma.encode(text)


def test_plain_text_has_the_ids_that_sentencepiece_gives(gemma: Tokenizer, tiny_gemma3) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(str(tiny_gemma3 / "tokenizer.model"))
    for text in TEXTS:
        assert gemma.encode(text) == model.encode(text)
    # What must not happen to a question: the package itself reads the marker in it.
    assert gemma.special_ids["<end_of_turn>"] in model.encode("a<end_of_turn>")


def test_special_tokens_are_left_out_or_named(gemma: Tokenizer) -> None:
    turn = gemma.special_ids["<start_of_turn>"]
    ids = [gemma.bos_id, turn, *gemma.encode("user"), gemma.eos_id]
    assert gemma.decode(ids) == "user"
    assert gemma.decode(ids, skip_special=False) == "<bos><start_of_turn>user<eos>"


def test_ids_beyond_the_vocabulary_are_left_out(tokenizer: Tokenizer) -> None:
    # A model's embedding has rows that no token uses, and can answer with one.
    ids = tokenizer.encode("one two")
    assert tokenizer.decode([*ids[:2], tokenizer.vocabulary_size + 5, *ids[2:]]) == "one two"


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_the_text_without_half_characters(tokenizer: Tokenizer, text) -> None:
    decoder = StreamDecoder(tokenizer)
    parts = [decoder.push(index) for index in tokenizer.encode(text)]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert decoder.flush() == ""


def test_a_character_that_never_ends_is_shown_broken_at_the_end(llama: Tokenizer) -> None:
    decoder = StreamDecoder(llama)
    smile = llama.encode("🙂")
    assert [decoder.push(index) for index in smile[:2]] == ["", ""]
    assert decoder.flush().strip("\ufffd") == ""
    assert decoder.push(llama.encode("a")[0]) == "a"


def test_a_broken_character_does_not_hold_the_stream(llama: Tokenizer) -> None:
    decoder = StreamDecoder(llama)
    middle = llama.encode("🙂")[1]
    text = "".join(decoder.push(index) for index in [middle] * 8)
    assert len(text) >= 4


def test_the_files_make_the_same_tokenizer(gemma: Tokenizer, llama: Tokenizer, tmp_path) -> None:
    for made in (gemma, llama):
        folder = tmp_path / type(made).__name__
        folder.mkdir()
        for name, content in made.files().items():
            (folder / name).write_bytes(content)
        config = {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|end_of_text|>"}}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        again = from_folder(folder)
        assert again.encode("SELECT 1") == made.encode("SELECT 1")
        assert (again.bos_id, again.eos_id, again.special_ids) == (
            made.bos_id,
            made.eos_id,
            made.special_ids,
        )


def test_gemma_ids(gemma: Tokenizer) -> None:
    assert (gemma.pad_id, gemma.eos_id, gemma.bos_id) == (0, 1, 2)
    assert {"<start_of_turn>", "<end_of_turn>"} <= set(gemma.special_ids)


def test_a_missing_pad_token_is_eos(llama: Tokenizer) -> None:
    assert llama.pad_id == llama.eos_id == llama.special_ids["<|end_of_text|>"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SentencePieceTokenizer(b"not a model"), "not a SentencePiece model"),
        (lambda: TokenizerJson(b"{}", "a", "b"), "cannot be read"),
        (lambda: TokenizerJson(b"\xff\xfe", "a", "b"), "cannot be read"),
        (lambda: TokenizerJson(llama_json(), "<s>", "</s>"), "bos '<s>', eos '</s>'"),
        (lambda: from_folder(Path("/nowhere")), "expected tokenizer.model, or tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_refused(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_a_model_that_puts_spaces_before_texts_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to learn from", "and some more words"] * 5),
        model_writer=proto,
        vocab_size=19,
        add_dummy_prefix=True,
        minloglevel=2,
    )
    with pytest.raises(DataError, match="add_dummy_prefix"):
        SentencePieceTokenizer(proto.getvalue())
