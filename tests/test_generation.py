"""Answers of a loaded model: as a stream, in batches, to a prompt alone."""

import dataclasses
import threading

import pytest

import kerasft
from kerasft.data.prompts import template_for
from kerasft.recipe import PromptSettings

pytestmark = pytest.mark.keras

NEW = 8
"""Tokens an answer."""


@pytest.fixture(scope="module")
def model(tiny_run):
    return kerasft.load(tiny_run.result.run.path)


@pytest.fixture(scope="module")
def rows(model):
    from kerasft.generation import prompt_row

    lengths = (4, 1, 3, 0, 2)
    return [prompt_row(model, "Say " + "silver paper " * count) for count in lengths]


def test_batches_answer_each_row_in_its_place(model, rows):
    from kerasft.generation import answer_rows

    done: list[int] = []
    together = answer_rows(model, rows, max_new_tokens=NEW, batch_size=2, on_batch=done.append)
    alone = [answer_rows(model, [row], max_new_tokens=NEW, batch_size=1)[0] for row in rows]
    assert together == alone
    assert len(set(alone)) > 1, "the answers are alike and show no order"
    assert done == [2, 4, 5]


def test_the_pieces_of_a_stream_are_the_answer(model, rows):
    from kerasft.generation import answer_rows, stream

    pieces = list(stream(model, rows[0], max_new_tokens=NEW))
    assert len(pieces) > 1
    [answer] = answer_rows(model, rows[:1], max_new_tokens=NEW, batch_size=1)
    assert "".join(pieces).strip() == answer
    assert model.generate(rows[0]["instruction"], max_new_tokens=NEW) == answer


def test_a_stream_that_is_left_ends_its_thread(model, rows):
    from kerasft.generation import stream

    before = threading.active_count()
    pieces = stream(model, rows[0], max_new_tokens=400)
    next(pieces)
    pieces.close()
    assert threading.active_count() == before


def test_what_goes_wrong_in_a_stream_reaches_its_reader(model):
    from kerasft.errors import DataError
    from kerasft.generation import stream

    with pytest.raises(DataError, match="needs the columns instruction"):
        list(stream(model, {"question": "?"}, max_new_tokens=NEW))


def test_a_prompt_fills_the_columns_or_the_first_message(model):
    from kerasft.generation import prompt_ids, prompt_row

    assert prompt_row(model, "Say it", "loudly") == {"instruction": "Say it", "context": "loudly"}
    chat = template_for(PromptSettings(template="chat"), "instruct")
    talking = dataclasses.replace(model, template=chat)
    assert prompt_row(talking, "Say it", " ") == {
        "messages": [{"role": "user", "content": "Say it"}]
    }
    row = prompt_row(talking, "Say it", "loudly")
    text = model.tokenizer.decode(prompt_ids(talking, row), skip_special=False)
    assert text.endswith(
        "<start_of_turn>user\nSay it\n\nloudly<end_of_turn>\n<start_of_turn>model\n"
    )
    assert prompt_ids(talking, row).count(model.tokenizer.bos_id) == 1


def test_a_text_is_taken_as_it_is(model):
    from kerasft.generation import prompt_ids

    ids = prompt_ids(model, "number one")
    assert ids[0] == model.tokenizer.bos_id
    assert model.tokenizer.decode(ids[1:]) == "number one"
