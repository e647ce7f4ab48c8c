"""The fast tokenizer cuts text as the SentencePiece model does, and frames it with one BOS."""

import json
import random

import pytest
import sentencepiece
import tokenizers

from kerasft.errors import ExportError
from kerasft.export.fast_tokenizer import fast_from_sentencepiece, tokenizer_files
from kerasft.export.probes import TEXTS
from kerasft.export.sentencepiece_proto import BYTE, USER_DEFINED, read_model
from kerasft.models.tokenizer_files import sentencepiece_model
from tests.export.live import llama_tokenizer_json, sentencepiece_proto


def files(given: dict[str, bytes], **changes) -> dict[str, bytes]:
    arguments = {"bos_id": 2, "eos_id": 1, "pad_id": 0, "special": ("<end_of_turn>",)}
    arguments |= {"chat_template": None, "max_length": 64} | changes
    return tokenizer_files(given, **arguments)


def fast(given: dict[str, bytes], **changes) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(files(given, **changes)["tokenizer.json"].decode())


def hard_texts() -> list[str]:
    """Strings of many scripts, spaces and line breaks, drawn by a seed."""
    draw = random.Random(0)
    ranges = [(32, 127), (32, 33), (10, 11), (160, 0x800), (0x3000, 0xD7FF), (0x1F300, 0x1FAFF)]
    return [
        "".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(40)) for _ in range(300)
    ]


def test_ids_and_text_are_those_of_the_sentencepiece_model():
    proto = sentencepiece_proto()
    reference = sentencepiece.SentencePieceProcessor(model_proto=proto)
    made = fast({"tokenizer.model": proto})
    for text in [*TEXTS, *hard_texts(), "a  b   c    \n\n\n<table>"]:
        ids = reference.encode(text)
        assert made.encode(text, add_special_tokens=False).ids == ids, text
        assert made.decode(ids, skip_special_tokens=False) == reference.decode(ids), text


def test_runs_of_spaces_are_one_token():
    made = fast({"tokenizer.model": sentencepiece_proto()})
    assert made.encode("a   b", add_special_tokens=False).tokens == ["a", "\u2581" * 3, "b"]


def test_a_piece_that_sentencepiece_never_matches_is_not_matched():
    # A plain space in a piece cannot be met, because spaces are escaped before.
    framing = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*framing, "\u2581", "a", "@@", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [3, 3, 3, 2, 1, 1, USER_DEFINED, *[BYTE] * 256]
    ids = {"pad": 0, "eos": 1, "bos": 2, "unk": 3}
    model = sentencepiece_model(pieces, [0.0] * len(pieces), types, ids).replace(b"@@", b"  ")
    assert read_model(model).pieces[6].text == "  "
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    made = tokenizers.Tokenizer.from_str(json.dumps(fast_from_sentencepiece(model)))
    assert made.encode("a  a").ids == reference.encode("a  a")


def test_exactly_one_bos_is_put_before_a_text():
    made = fast({"tokenizer.model": sentencepiece_proto()})
    assert made.encode("a").ids[0] == 2 and made.encode("a").ids.count(2) == 1
    assert [i for i, token in enumerate(made.encode("a", "b").ids) if token == 2] == [0, 2]


def test_a_tokenizer_json_keeps_its_bos_or_gets_one():
    whole = json.loads(llama_tokenizer_json())
    bare = whole | {"post_processor": None}
    ids = {"bos_id": 0, "eos_id": 1, "pad_id": 3}
    kept = files({"tokenizer.json": json.dumps(whole).encode()}, **ids)["tokenizer.json"]
    assert json.loads(kept) == whole
    for given in (bare, whole | {"post_processor": whole["decoder"]}):
        made = fast({"tokenizer.json": json.dumps(given).encode()}, **ids)
        plain = made.encode("SELECT 1", add_special_tokens=False).ids
        assert made.encode("SELECT 1").ids == [0, *plain]


def test_the_small_files_name_the_framing_tokens():
    made = files({"tokenizer.model": sentencepiece_proto()}, chat_template="{{ bos_token }}")
    marks = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    assert json.loads(made["special_tokens_map.json"]) == marks
    assert json.loads(made["tokenizer_config.json"]).items() >= marks.items()
    assert made["chat_template.jinja"] == b"{{ bos_token }}"
    assert "chat_template.jinja" not in files({"tokenizer.model": sentencepiece_proto()})
    added = {
        entry["content"]: entry for entry in json.loads(made["tokenizer.json"])["added_tokens"]
    }
    assert added["<end_of_turn>"]["special"] and not added["<table>"]["special"]


def test_the_settings_name_the_pieces_that_are_never_cut():
    """llama.cpp's converter knows turn marks and runs of spaces from there alone."""
    made = files({"tokenizer.model": sentencepiece_proto()}, special=["<end_of_turn>"])
    named = json.loads(made["tokenizer_config.json"])["added_tokens_decoder"]
    special = {each["content"]: each["special"] for each in named.values()}
    assert special["<bos>"] and special["<end_of_turn>"]
    assert not special["<table>"] and not special["\u2581\u2581"]
    added = json.loads(made["tokenizer.json"])["added_tokens"]
    assert [{"id": int(index), **each} for index, each in named.items()] == added


def test_what_cannot_be_said_in_tokenizer_json_is_refused_at_once():
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to learn from"] * 9),
        model_writer=model,
        model_type="unigram",
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ExportError) as raised:
        fast_from_sentencepiece(model.getvalue())
    for fault in ("not BPE", "nmt_nfkc", "add_dummy_prefix", "remove_extra_whitespaces"):
        assert fault in str(raised.value)
    with pytest.raises(ExportError, match=r"tokenizer\.model or tokenizer\.json; got vocab\.txt"):
        files({"vocab.txt": b""})
    with pytest.raises(ExportError, match="no token for its eos id 999"):
        files({"tokenizer.model": sentencepiece_proto()}, eos_id=999)


def test_the_model_file_is_read_as_sentencepiece_reads_it():
    proto = sentencepiece_proto()
    reference = sentencepiece.SentencePieceProcessor(model_proto=proto)
    pieces = read_model(proto).pieces
    assert [piece.text for piece in pieces] == [
        reference.id_to_piece(index) for index in range(len(pieces))
    ]
    assert [piece.score for piece in pieces] == [
        reference.get_score(index) for index in range(len(pieces))
    ]
    assert pieces[reference.piece_to_id("<table>")].kind == USER_DEFINED


def test_a_damaged_model_file_is_an_export_error_or_a_model():
    proto = sentencepiece_proto()
    damaged = [proto[:cut] for cut in range(1, 200, 7)]
    damaged += [proto[:at] + bytes([proto[at] ^ 255]) + proto[at + 1 :] for at in range(0, 200, 7)]
    refused = 0
    for content in damaged:
        try:
            read_model(content)
        except ExportError:
            refused += 1
    assert refused > len(damaged) // 2
