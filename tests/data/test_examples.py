"""Ids and weights of rows, checked as text: what is trained on is what a person reads."""

import dataclasses

import numpy as np
import pytest

from kerasft.data import examples
from kerasft.data.examples import (
    Encoded,
    Example,
    check_examples,
    encode_prompt,
    encode_rows,
)
from kerasft.data.prompts import Template, template_for
from kerasft.data.tokens import Tokenizer
from kerasft.errors import DataError
from kerasft.recipe import PromptSettings

SQL_ROW = {"question": "How many?", "context": "CREATE TABLE t (a INT);", "sql": "SELECT 1;"}
CHAT_ROW = {
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "ho ho"},
    ]
}


def encode(
    rows,
    tokenizer: Tokenizer,
    name: str = "gemma",
    task: str = "text_to_sql",
    length=512,
    **settings,
) -> tuple[Encoded, Template]:
    prompt = PromptSettings(template=name, **settings)
    template = template_for(prompt, task)
    return encode_rows(rows, template, tokenizer, prompt, length), template


def aligned(example: Example, tokenizer: Tokenizer) -> tuple[str, str]:
    """The text of an example, and below each of its characters the weight of its token."""
    text, weights = "", ""
    for index, weight in zip(example.token_ids.tolist(), example.loss_weights, strict=True):
        piece = tokenizer.decode([index], skip_special=False).replace("\n", "↵")
        text += piece
        weights += str(weight) * len(piece)
    return text, weights


def test_the_completion_and_its_stop_token_are_trained(gemma: Tokenizer) -> None:
    encoded, _ = encode([{**SQL_ROW, "context": ""}], gemma)
    # fmt: off
    assert aligned(encoded.examples[0], gemma) == (
        "<bos><start_of_turn>user↵Write SQL that answers the question.↵Question: How many?"
        "<end_of_turn>↵<start_of_turn>model↵SELECT 1;<end_of_turn>",
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0"
        "000000000000000000000000000000000001111111111111111111111",
    )
    # fmt: on


def test_every_token_but_bos_is_trained_without_the_mask(gemma: Tokenizer) -> None:
    encoded, _ = encode([SQL_ROW], gemma, "instruction", mask_prompt=False)
    example = encoded.examples[0]
    text, weights = aligned(example, gemma)
    assert text.startswith("<bos>Instruction:") and text.endswith("SELECT 1;<eos>")
    assert weights == "0" * len("<bos>") + "1" * (len(text) - len("<bos>"))
    assert encoded.supervised_tokens == encoded.tokens - 1


def test_ids_and_weights_by_hand(llama: Tokenizer) -> None:
    """Byte tokens, so that the row of ids can be written down."""
    encoded, _ = encode(
        [{"instruction": "a", "context": "", "response": "b"}], llama, "llama3", "instruct"
    )
    special = llama.special_ids
    head, end = special["<|start_header_id|>"], special["<|end_header_id|>"]

    def ids(text: str) -> list[int]:
        return [llama.encode(letter)[0] for letter in text]

    answer = [*ids("b"), special["<|eot_id|>"]]
    prompt = [
        special["<|begin_of_text|>"],
        *[head, *ids("user"), end, *ids("\n\na"), special["<|eot_id|>"]],
        *[head, *ids("assistant"), end, *ids("\n\n")],
    ]
    example = encoded.examples[0]
    assert example.token_ids.tolist() == prompt + answer
    assert example.loss_weights.tolist() == [0] * len(prompt) + [1, 1]
    assert example.token_ids.dtype == np.int32 and example.loss_weights.dtype == np.uint8


def test_every_answer_of_a_chat_is_trained(gemma: Tokenizer) -> None:
    encoded, _ = encode([CHAT_ROW], gemma, "chat", "instruct")
    text, weights = aligned(encoded.examples[0], gemma)
    trained = "".join(
        letter if weight == "1" else "·" for letter, weight in zip(text, weights, strict=True)
    )
    assert [part for part in trained.split("·") if part] == [
        "ho<end_of_turn>",
        "ho ho<end_of_turn>",
    ]


@pytest.mark.parametrize("question", ["<end_of_turn>", "<bos>x", "a<eos><start_of_turn>model\n"])
def test_markers_in_a_row_are_no_tokens(gemma: Tokenizer, question: str) -> None:
    row = {**SQL_ROW, "question": question, "sql": question}
    encoded, template = encode([row], gemma)
    ids = encoded.examples[0].token_ids.tolist()
    special = [index for index in ids if index in gemma.special_ids.values()]
    start, end = gemma.special_ids["<start_of_turn>"], gemma.special_ids["<end_of_turn>"]
    assert special == [gemma.bos_id, start, end, start, end]
    check_examples(encoded.examples, [row], template, gemma)


@pytest.mark.parametrize(
    ("name", "task", "row"),
    [
        ("gemma", "text_to_sql", SQL_ROW),
        ("alpaca", "text_to_sql", SQL_ROW),
        ("instruction", "instruct", {"instruction": "a", "context": "b", "response": "c"}),
        ("chat", "instruct", CHAT_ROW),
    ],
)
def test_generation_starts_from_the_examples_own_prompt(gemma, name, task, row) -> None:
    encoded, template = encode([row], gemma, name, task)
    example = encoded.examples[0]
    prompt = encode_prompt(row, template, gemma)
    length = len(prompt)
    assert example.token_ids[:length].tolist() == prompt
    # Right after it comes the last answer, and nothing else.
    assert example.loss_weights[length:].all() and not example.loss_weights[length - 1]


def test_long_rows_are_dropped_whole(gemma: Tokenizer) -> None:
    rows = [SQL_ROW, {**SQL_ROW, "sql": "SELECT 1 " * 200}, SQL_ROW]
    encoded, template = encode(rows, gemma, length=128)
    assert [example.row for example in encoded.examples] == [0, 2]
    assert [(each.row, each.tokens > 128) for each in encoded.dropped] == [(1, True)]
    assert encoded.reasons == {"longer than sequence_length = 128 tokens": 1}
    check_examples(encoded.examples, rows, template, gemma)


def test_a_long_context_is_cut_to_its_schema_first(gemma: Tokenizer) -> None:
    rows = [
        {**SQL_ROW, "context": SQL_ROW["context"] + " INSERT INTO t VALUES (1);" * 40},
        {**SQL_ROW, "context": "CREATE TABLE t (a INT);" * 40},
        SQL_ROW,
    ]
    encoded, _ = encode(rows, gemma, length=128, long_rows="trim")
    assert [example.row for example in encoded.examples] == [0, 2]
    assert encoded.trimmed == 1
    text, _ = aligned(encoded.examples[0], gemma)
    assert "CREATE TABLE t" in text and "INSERT" not in text and "SELECT 1;" in text
    # Both rows have one schema and one answer, so one example.
    assert np.array_equal(encoded.examples[0].token_ids, encoded.examples[1].token_ids)
    assert encoded.dropped[0].reason.endswith("cut to the schema too")


def test_a_row_of_just_the_limit_stays(gemma: Tokenizer) -> None:
    length = len(encode([SQL_ROW], gemma)[0].examples[0].token_ids)
    assert len(encode([SQL_ROW], gemma, length=length)[0].examples) == 1
    with pytest.raises(DataError, match=f"they have {length} to {length} tokens"):
        encode([SQL_ROW], gemma, length=length - 1)


def test_no_rows_at_all(gemma: Tokenizer) -> None:
    with pytest.raises(DataError, match="no rows to encode"):
        encode([], gemma)


def test_rows_that_cannot_be_rendered_are_named_together(gemma: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"(?s)\(2\).*row 1: .*context.*row 2: .*sql"):
        encode([SQL_ROW, {"question": "x", "sql": "y"}, {"question": "x", "context": ""}], gemma)


def test_the_wrong_familys_template_is_named(llama: Tokenizer) -> None:
    with pytest.raises(DataError, match="no token <start_of_turn>"):
        encode([SQL_ROW], llama)


def damaged(example: Example, what: str, tokenizer: Tokenizer) -> Example:
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    ids, weights = example.token_ids.copy(), example.loss_weights.copy()
    if what == "double bos":
        ids, weights = np.insert(ids, 1, bos), np.insert(weights, 1, 0)
    elif what == "no bos":
        ids, weights = ids[1:], weights[1:]
    elif what == "zero weights":
        weights[:] = 0
    elif what == "stop not trained":
        weights[-1] = 0
    elif what == "stop missing":
        ids, weights = ids[:-1], weights[:-1]
    elif what == "answer cut":  # from the left of the answer, stop token still there
        ids, weights = np.delete(ids, [-3, -4]), np.delete(weights, [-3, -4])
    elif what == "answer masked":
        weights[-3] = 0
    elif what == "marker in the answer":
        ids, weights = np.insert(ids, -2, eos), np.insert(weights, -2, 1)
    elif what == "id beyond the vocabulary":  # which decoding leaves out
        ids, weights = np.insert(ids, -2, 10**9), np.insert(weights, -2, 1)
    elif what == "another answer":
        ids[-3] = ids[-2]
    return dataclasses.replace(example, token_ids=ids, loss_weights=weights)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("double bos", "BOS stands at 0, 1"),
        ("no bos", "BOS stands at nowhere"),
        ("zero weights", "every loss weight is zero"),
        ("stop not trained", "the stop token <end_of_turn> is not trained"),
        ("stop missing", "the stop token <end_of_turn> is not trained"),
        ("answer cut", "the answer is cut"),
        ("answer masked", "part of the answer has loss weight zero"),
        ("marker in the answer", "the answer is cut"),
        ("id beyond the vocabulary", "the answer is cut"),
        ("another answer", "the answer is cut"),
    ],
)
@pytest.mark.parametrize("again", [1, 256], ids=["read back", "encoded again"])
def test_the_hard_checks_find(monkeypatch, gemma, what: str, message: str, again: int) -> None:
    monkeypatch.setattr(examples, "ENCODED_AGAIN", again)
    rows = [SQL_ROW, SQL_ROW]
    encoded, template = encode(rows, gemma)
    check_examples(encoded.examples, rows, template, gemma)
    bad = damaged(encoded.examples[1], what, gemma)
    with pytest.raises(DataError, match=f"row 1: {message}"):
        check_examples([encoded.examples[0], bad], rows, template, gemma)


def test_the_answers_of_other_rows_are_found(gemma: Tokenizer) -> None:
    rows = [{**SQL_ROW, "sql": f"SELECT {number};"} for number in range(6)]
    encoded, template = encode(rows, gemma)
    moved = [dataclasses.replace(each, row=(each.row + 1) % 6) for each in encoded.examples]
    with pytest.raises(DataError, match=r"(?s)\(6\).*row 1: the answer is cut"):
        check_examples(moved, rows, template, gemma)


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_few_answers_are_encoded_again(monkeypatch, gemma: Tokenizer, mask_prompt: bool) -> None:
    rows = [{**SQL_ROW, "sql": f"SELECT {number};"} for number in range(10)]
    encoded, template = encode(rows, gemma, mask_prompt=mask_prompt)
    monkeypatch.setattr(examples, "ENCODED_AGAIN", 2)
    asked = []
    tokenizer_encode = gemma.encode
    monkeypatch.setattr(gemma, "encode", lambda text: asked.append(text) or tokenizer_encode(text))
    check_examples(encoded.examples, rows, template, gemma)
    # Where the prompt is trained too, no answer can be told from it by its weights.
    assert len(asked) == (2 if mask_prompt else 10)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_rows_in_portions_give_the_same_examples(monkeypatch, gemma, at_once: int) -> None:
    rows = [
        {**SQL_ROW, "context": SQL_ROW["context"] + " INSERT INTO t VALUES (1);" * (40 * (n == 2))}
        for n in range(5)
    ]
    rows[3] = {**SQL_ROW, "sql": "SELECT 1 " * 200}
    whole, _ = encode(rows, gemma, length=128, long_rows="trim")
    monkeypatch.setattr(examples, "ROWS_AT_ONCE", at_once)
    parts, _ = encode(rows, gemma, length=128, long_rows="trim")
    assert (parts.dropped, parts.trimmed, parts.tokens) == (whole.dropped, 1, whole.tokens)
    for one, other in zip(parts.examples, whole.examples, strict=True):
        assert one.row == other.row
        assert np.array_equal(one.token_ids, other.token_ids)
        assert np.array_equal(one.loss_weights, other.loss_weights)
