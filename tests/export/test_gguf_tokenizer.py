"""A tokenizer's arrays in GGUF: right for llama.cpp, or refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from kerasft.errors import ExportError
from kerasft.export.gguf_tokenizer import tokenizer_metadata
from tests.export.live import VOCABULARY, llama_tokenizer_json, sentencepiece_proto, tiny_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def entries_of(family, rows=VOCABULARY):
    entries = tokenizer_metadata(tiny_tokenizer(family), rows)
    return entries, dict(zip(entries["tokens"], entries["token_type"], strict=True))


def test_sentencepiece_pieces_have_the_types_by_which_llama_cpp_finds_them():
    entries, kinds = entries_of("gemma3")
    assert (entries["model"], entries["pre"]) == ("llama", "default")
    assert entries["add_space_prefix"] is False
    assert kinds["<bos>"] == kinds["<eos>"] == kinds["<pad>"] == CONTROL
    # A turn mark in a prompt's text must not end the turn.
    assert kinds["<start_of_turn>"] == kinds["<end_of_turn>"] == CONTROL
    assert kinds["\n\n"] == kinds["<table>"] == USER_DEFINED
    # Looked for in the text as it came.
    assert kinds["   "] == USER_DEFINED
    assert "\u2581\u2581\u2581" not in kinds
    assert kinds["<0x0A>"] == BYTE
    scores = dict(zip(entries["tokens"], entries["scores"], strict=True))
    assert scores["<bos>"] == -1000
    joined = [token for token in kinds if kinds[token] == NORMAL and len(token) > 2]
    assert scores[joined[0]] > scores[joined[-1]] > -1000


def test_byte_pairs_keep_their_merges_and_special_tokens():
    entries, kinds = entries_of("llama3")
    assert (entries["model"], entries["pre"]) == ("gpt2", "llama-bpe")
    assert "scores" not in entries
    assert kinds["<|eot_id|>"] == kinds["<|begin_of_text|>"] == CONTROL
    assert kinds["\u0120"] == NORMAL
    assert all(len(merge.split(" ")) == 2 for merge in entries["merges"])
    assert len(entries["merges"]) > 100


@pytest.mark.parametrize("family", ["gemma", "llama3"])
def test_there_is_one_token_for_each_row_of_the_embedding(family):
    entries, kinds = entries_of(family, VOCABULARY + 3)
    assert entries["tokens"][-1] == f"[PAD{VOCABULARY + 2}]"
    assert kinds["[PAD512]"] == UNUSED
    fewer, _ = entries_of(family, VOCABULARY - 4)
    for key in ("tokens", "token_type", "scores"):
        if key in fewer:
            assert fewer[key] == entries[key][: VOCABULARY - 4]


def with_json(**changes):
    contents = json.loads(llama_tokenizer_json()) | changes
    files = {"tokenizer.json": json.dumps(contents).encode()}
    return SimpleNamespace(files=lambda: files, special_ids={})


def test_a_split_that_llama_cpp_has_no_name_for_is_refused():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    with pytest.raises(ExportError) as raised:
        tokenizer_metadata(with_json(pre_tokenizer=byte_level, normalizer={"type": "NFC"}), 512)
    assert "split otherwise than in Llama 3" in str(raised.value)
    assert "normalises" in str(raised.value)


def test_merges_that_llama_cpp_would_skip_are_refused():
    model = json.loads(llama_tokenizer_json())["model"] | {"ignore_merges": False}
    with pytest.raises(ExportError, match=r"which llama\.cpp takes whole"):
        tokenizer_metadata(with_json(model=model), 512)


def test_a_sentencepiece_model_that_changes_text_is_refused():
    # The last field of its normaliser: add_dummy_prefix (3) and remove_extra_whitespaces (4).
    proto = sentencepiece_proto() + b"\x1a\x04\x18\x01\x20\x01"
    tokenizer = SimpleNamespace(files=lambda: {"tokenizer.model": proto}, special_ids={})
    with pytest.raises(ExportError) as raised:
        tokenizer_metadata(tokenizer, VOCABULARY)
    assert "add_dummy_prefix" in str(raised.value)
    assert "remove_extra_whitespaces" in str(raised.value)
