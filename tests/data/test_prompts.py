"""Templates: which text and which markers a row becomes."""

import json

import pytest

from kerasft.data.columns import COLUMNS
from kerasft.data.examples import encode_prompt
from kerasft.data.prompts import (
    Marker,
    Piece,
    Template,
    Text,
    marker_id,
    names,
    stop_ids,
    template_for,
)
from kerasft.data.tokens import Tokenizer
from kerasft.errors import DataError
from kerasft.recipe import CustomTemplate, PromptSettings

SQL_ROW = {"question": "How many?", "context": "CREATE TABLE t (a INT);", "sql": "SELECT 1;"}
INSTRUCT_ROW = {"instruction": "Say hi", "context": "", "response": "hi"}
CHAT_ROW = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "ho ho"},
    ]
}


def shown(pieces: tuple[Piece, ...]) -> str:
    """Pieces as one string, with markers in ‹›, so that a marker in the text is seen."""
    return "".join(
        each.text if isinstance(each, Text) else f"‹{each.name.strip('<|>')}›" for each in pieces
    )


def template(name: str, task: str = "text_to_sql", **settings) -> Template:
    return template_for(PromptSettings(template=name, **settings), task)


def custom(prompt: str, completion: str = "{sql}", stop: str = "<eos>") -> Template:
    written = CustomTemplate(prompt=prompt, completion=completion, stop=stop)
    return template("custom", custom=written)


def test_gemma_turns_with_a_schema() -> None:
    rendered = template("gemma").render(SQL_ROW)
    assert shown(rendered.prompt) == (
        "‹start_of_turn›user\n"
        "Write SQL that answers the question.\n"
        "CREATE TABLE t (a INT);\n"
        "Question: How many?‹end_of_turn›\n"
        "‹start_of_turn›model\n"
    )
    assert shown(rendered.completion) == "SELECT 1;‹end_of_turn›"


def test_llama_turns() -> None:
    rendered = template("llama3", "instruct").render(INSTRUCT_ROW)
    assert shown(rendered.prompt) == (
        "‹start_header_id›user‹end_header_id›\n\nSay hi‹eot_id›"
        "‹start_header_id›assistant‹end_header_id›\n\n"
    )
    assert shown(rendered.completion) == "hi‹eot_id›"


def test_the_tutorials_template() -> None:
    rendered = template("instruction", "instruct").render(INSTRUCT_ROW)
    assert shown(rendered.prompt) == "Instruction:\nSay hi\n\nResponse:\n"
    assert shown(rendered.completion) == "hi‹eos›"


@pytest.mark.parametrize("task", ["text_to_sql", "instruct"])
@pytest.mark.parametrize("name", ["gemma", "llama3", "alpaca", "instruction"])
def test_an_empty_context_leaves_nothing_behind(name: str, task: str) -> None:
    row = SQL_ROW if task == "text_to_sql" else INSTRUCT_ROW
    used = template(name, task)
    full = shown(used.render({**row, "context": "THE CONTEXT"}).prompt)
    empty = shown(used.render({**row, "context": "  "}).prompt)
    assert "THE CONTEXT" in full
    for header in ("Input", "Context", "\n\n\n", "[[", "]]"):
        assert header not in empty
    # What went is the context with its own header: nothing else changed.
    assert len(full) - len(empty) <= len("### Input:\nTHE CONTEXT\n\n")


@pytest.mark.parametrize("task", ["text_to_sql", "instruct"])
def test_every_named_template_renders_and_is_saved(task: str) -> None:
    row = {**SQL_ROW, **INSTRUCT_ROW, **CHAT_ROW}
    for name in names(task):
        used = template(name, task, context="schema")
        assert Template.from_dict(json.loads(json.dumps(used.to_dict()))) == used
        assert used.render(row).completion[-1] == Marker(used.stop)
        assert used.render_prompt(row) == used.render(row).prompt
        assert set(used.slots) <= {*COLUMNS[task], "messages"}


def test_text_and_template_are_one_string_where_they_meet() -> None:
    first = template("instruction").render(SQL_ROW).prompt
    assert len(first) == 1 and isinstance(first[0], Text)


def test_a_marker_in_a_row_stays_text() -> None:
    row = {**SQL_ROW, "question": "<end_of_turn>", "context": "{sql} [[{x}]] <eos>"}
    rendered = template("gemma").render(row)
    markers = [each.name for each in rendered.prompt if isinstance(each, Marker)]
    assert markers == ["<start_of_turn>", "<end_of_turn>", "<start_of_turn>"]
    assert "{sql} [[{x}]] <eos>" in shown(rendered.prompt)
    assert "Question: <end_of_turn>" in shown(rendered.prompt)


def test_schema_only() -> None:
    row = {**SQL_ROW, "context": "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);"}
    assert "INSERT" not in shown(template("gemma", context="schema").render(row).prompt)
    assert "INSERT" in shown(template("gemma", context="full").render(row).prompt)


def test_a_written_template() -> None:
    used = custom("<|im_start|>{{x}} {question}[[ ({context})]] [[1]]", stop="<end_of_turn>")
    rendered = used.render({**SQL_ROW, "context": ""})
    assert shown(rendered.prompt) == "‹im_start›{x} How many? [[1]]"
    assert used.markers == ("<|im_start|>", "<end_of_turn>")
    assert used.stop_markers == ("<end_of_turn>", "<eos>")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: custom("{qestion}"), "did you mean {question}"),
        (lambda: custom("{question} {sql}"), "the answer, but stands in the prompt"),
        (lambda: custom("{question}", "done"), "holds no answer column"),
        (lambda: custom("{question"), "opens or closes no"),
        (lambda: custom("<bos>{question}"), "put before every row already"),
        (lambda: custom("{question}", stop="END"), "no marker"),
        (lambda: template("gema"), "did you mean 'gemma'"),
        (lambda: Template.from_dict({"name": "x"}), "cannot be read"),
        (lambda: Template.from_dict({**template("chat").to_dict(), "turns": "x"}), "expected one"),
        (lambda: template("gemma").render({"question": "x"}), "needs the columns context"),
    ],
)
def test_faults_of_templates(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_gemma_has_no_system_turn() -> None:
    parts = template("chat", "instruct").render(CHAT_ROW).parts
    assert [(shown(part.pieces), part.supervised) for part in parts] == [
        ("‹start_of_turn›user\nBe brief.\n\nhi‹end_of_turn›", False),
        ("\n‹start_of_turn›model\n", False),
        ("ho‹end_of_turn›", True),
        ("\n‹start_of_turn›user\nmore‹end_of_turn›", False),
        ("\n‹start_of_turn›model\n", False),
        ("ho ho‹end_of_turn›", True),
    ]


def test_a_question_without_an_answer_gets_the_answers_opening() -> None:
    asked = {"messages": CHAT_ROW["messages"][:2]}
    prompt = template("chat", "instruct").render_prompt(asked)
    assert shown(prompt).endswith("hi‹end_of_turn›\n‹start_of_turn›model\n")
    with pytest.raises(DataError, match="no assistant message"):
        template("chat", "instruct").render(asked)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hi", "expected a list"),
        ([], "expected a list"),
        ([{"role": "tool", "content": "x"}], "message 1 is no"),
        ([{"role": "user", "content": None}], "message 1 is no"),
        ([{"role": "user", "content": " "}], "empty"),
        ([{"role": "assistant", "content": "x"}], "take turns"),
        ([{"role": "user", "content": "x"}] * 2, "take turns"),
        (
            [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}],
            "only be the first",
        ),
    ],
)
def test_messages_that_are_no_conversation(messages, message: str) -> None:
    with pytest.raises(DataError, match=message):
        template("chat", "instruct").render_prompt({"messages": messages})


@pytest.mark.parametrize(
    ("name", "bos", "made"),
    [("chat", "<bos>", "gemma"), ("chat-llama3", "<|begin_of_text|>", "llama")],
)
def test_the_jinja_template_writes_what_training_saw(
    name: str, bos: str, made: str, request: pytest.FixtureRequest
) -> None:
    jinja2 = pytest.importorskip("jinja2")
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    tokenizer: Tokenizer = request.getfixturevalue(made)
    used = template(name, "instruct")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    asked = {"messages": CHAT_ROW["messages"][:4]}
    text = environment.from_string(used.chat_template() or "").render(
        messages=asked["messages"], bos_token=bos, add_generation_prompt=True
    )
    ids = encode_prompt(asked, used, tokenizer)
    assert tokenizer.decode(ids, skip_special=False) == text
    whole = environment.from_string(used.chat_template() or "").render(
        messages=CHAT_ROW["messages"], bos_token=bos
    )
    assert whole.startswith(text) and "ho ho" in whole
    assert jinja2 is not None


def test_only_templates_of_turns_have_a_chat_template() -> None:
    assert template("alpaca").chat_template() is None
    assert template("gemma").chat_template() == template("chat").chat_template()


def test_stop_ids(gemma: Tokenizer, llama: Tokenizer) -> None:
    end = gemma.special_ids["<end_of_turn>"]
    assert stop_ids(template("gemma"), gemma) == [end, gemma.eos_id]
    assert stop_ids(template("alpaca"), gemma) == [gemma.eos_id]
    assert stop_ids(template("llama3"), llama) == [llama.special_ids["<|eot_id|>"], llama.eos_id]


def test_a_template_of_another_family_is_refused(llama: Tokenizer) -> None:
    with pytest.raises(DataError, match="no token <end_of_turn>"):
        marker_id("<end_of_turn>", llama)
