"""The Modelfile: Ollama's turns are those that were trained."""

from __future__ import annotations

import re

import pytest

from kerasft.data.prompts import template_for
from kerasft.export.modelfile import go_template, modelfile
from kerasft.recipe import PromptSettings
from tests.export.live import tiny_weights


def rendered(template: str, prompt: str, system: str = "") -> str:
    """What Ollama gives the model: the template up to .Response, its slots filled."""
    kept = r"\1" if system else ""
    text = re.sub(r"\{\{ if \.System \}\}(.*?)\{\{ end \}\}", kept, template, flags=re.DOTALL)
    text = text.partition("{{ .Response }}")[0]
    return text.replace("{{ .System }}", system).replace("{{ .Prompt }}", prompt)


def text_of(pieces):
    return "".join(getattr(piece, "name", None) or piece.text for piece in pieces)


@pytest.mark.parametrize("chat", ["chat", "chat-llama3"])
@pytest.mark.parametrize("system", ["", "Answer in SQL."])
def test_the_turns_are_those_of_training(chat, system):
    template = template_for(PromptSettings(template=chat), "instruct")
    messages = [{"role": "user", "content": "How many?"}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    trained = text_of(template.render_prompt({"messages": messages}))
    assert rendered(go_template(template), "How many?", system) == trained


def test_a_task_template_is_the_user_turn_of_its_family():
    weights = tiny_weights("gemma3")
    row = {"context": "CREATE TABLE t (a INT);", "question": "How many?"}
    trained = text_of(weights.template.render_prompt(row))
    said = "Write SQL that answers the question.\nCREATE TABLE t (a INT);\nQuestion: How many?"
    assert rendered(go_template(weights.template), said) == trained


def test_a_template_without_turns_is_the_prompt_alone():
    weights = tiny_weights("gemma3", template="instruction")
    text = modelfile(weights, "model-F16.gguf")
    assert 'TEMPLATE """{{ .Prompt }}"""' in text
    assert 'PARAMETER stop "<eos>"' in text
    assert "<end_of_turn>" not in text


def test_it_names_the_file_the_stops_and_the_terms():
    lines = modelfile(tiny_weights("llama3"), "model-Q8_0.gguf").splitlines()
    assert lines[0] == "FROM ./model-Q8_0.gguf"
    assert 'PARAMETER stop "<|end_of_text|>"' in lines
    assert 'PARAMETER stop "<|eot_id|>"' in lines
    assert "PARAMETER temperature 0" in lines
    assert lines[-1].startswith('LICENSE "Llama Community License, https://')
    assert "#   Write SQL that answers the question." in lines
