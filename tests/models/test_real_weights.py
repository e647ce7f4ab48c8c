"""The embedded Gemma 3 270M: it loads, its tokenizer is Gemma's, it knows a few things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerasft.models.embedded import embedded_file
from kerasft.models.gguf import GgufFile
from kerasft.models.sources import BaseModel, describe_base, load_base
from tests.tiny import keras_logits

pytestmark = [pytest.mark.keras, pytest.mark.real_weights]


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load_base("gemma3-270m", dtype="bfloat16")


def test_it_is_what_a_dry_run_says(base):
    described = describe_base("gemma3-270m")
    assert described.config == base.config
    assert described.parameters == base.causal_lm.backbone.count_params()


def test_likeliest_next_words(base):
    expected = {
        "The capital of France is": " the",
        "One, two, three, four,": " five",
        "Monday, Tuesday, Wednesday,": " Thursday",
        "import numpy as": " np",
    }
    length = 12
    rows, ends = [], []
    for prompt in expected:
        ids = [base.tokenizer.bos_id, *base.tokenizer.encode(prompt)]
        ends.append(len(ids) - 1)
        rows.append(ids + [base.tokenizer.pad_id] * (length - len(ids)))
    logits = keras_logits(base.causal_lm, np.array(rows, "int32"))
    best = logits[range(len(rows)), ends].argmax(-1)
    assert [base.tokenizer.decode([int(i)]) for i in best] == list(expected.values())
    second = np.argsort(logits[0, ends[0]])[-10:]
    assert " Paris" in [base.tokenizer.decode([int(i)]) for i in second]


def test_every_ordinary_piece_keeps_its_id(base):
    metadata: Any = GgufFile(embedded_file()).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    assert base.tokenizer.vocabulary_size == len(tokens) == 262_144
    for text in ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>"):
        assert base.tokenizer.special_ids[text] == tokens.index(text)
    for text in (
        "SELECT name FROM users;",
        "Größe ☃ 日本語 😀",
        "\n\n  two  spaces\t",
        "2024-01-05",
    ):
        ids = base.tokenizer.encode(text)
        assert base.tokenizer.decode(ids) == text
        assert "".join(tokens[i] for i in ids).replace("▁", " ") == text
