"""The adapter that is shipped fits the base that its card names."""

import json
import re

import numpy as np
import pytest

from kerasft.models.adapter import WEIGHTS, read_info, read_stored, read_tensors
from kerasft.models.shipped import shipped_adapter
from kerasft.recipe import load


def test_its_description_and_recipe_agree() -> None:
    info = read_info(shipped_adapter())
    recipe = load(str(shipped_adapter() / "recipe.toml"))
    assert info.lora == recipe.lora
    assert (info.preset, info.task) == (recipe.model.preset, recipe.task)
    assert (info.task, info.template["context"]) == ("text_to_sql", "full")


def test_it_holds_seven_trained_layers_a_block() -> None:
    info, tensors = read_info(shipped_adapter()), read_tensors(shipped_adapter())
    assert len(tensors) == 18 * 7 * 2
    for name, value in tensors.items():
        assert value.dtype == np.float32 and np.isfinite(value).all(), name
        assert info.lora.rank in value.shape, name
        assert value.any(), f"{name} is as it was drawn: B starts at zero"


def test_it_is_small_enough_to_come_with_every_installation() -> None:
    assert sum(file.stat().st_size for file in shipped_adapter().iterdir()) <= 4_000_000
    assert read_info(shipped_adapter()).lora.rank <= 8
    stored = read_stored(shipped_adapter() / WEIGHTS)
    assert {array.dtype.name for array in stored.values()} == {"bfloat16"}


def test_its_card_says_what_its_scores_and_its_proof_say() -> None:
    card = (shipped_adapter() / "README.md").read_text("utf-8")
    scores = json.loads((shipped_adapter() / "scores.json").read_text("utf-8"))
    proof = json.loads((shipped_adapter() / "verification.json").read_text("utf-8"))
    spider, chinook = scores["rows"], scores["chinook"]
    measured, interval = proof["comparison"], "{rate:.1%} ({low:.1%} to {high:.1%})"
    expected = [
        f"right results {interval}".format(**spider["tuned"]["execution_accuracy"]),
        "{rate:.1%} with `--retry 4`".format(**spider["with_retry"]["tuned"]["execution_accuracy"]),
        f"exact match {interval}".format(**spider["tuned"]["exact_match"]),
        "{count} of {of}".format(**chinook["tuned"]["execution_accuracy"]),
        "is {perplexity:.1f}".format(**spider["forgetting"]["tuned"]),
        f"{measured['largest_difference']:.2g} of {measured['logit_range']:.0f}",
    ]
    words = " ".join(card.replace(" %", "%").split())
    assert [text for text in expected if text not in words] == []
    info = read_info(shipped_adapter())
    assert proof["status"] == "passed" and proof["fingerprint"] == info.fingerprint


def test_its_card_speaks_of_no_folder_of_the_machine_that_trained_it() -> None:
    for file in shipped_adapter().iterdir():
        if file.suffix != ".safetensors":
            assert not re.search(r"(?<![\\w.])/(tmp|home|root|work|mnt)/", file.read_text("utf-8"))


@pytest.mark.keras
@pytest.mark.real_weights
def test_it_answers_on_its_base() -> None:
    from kerasft.engine.loaded import with_adapter

    model = with_adapter(shipped_adapter())
    schema = "CREATE TABLE singer (singer_id INTEGER, name TEXT, age INTEGER);"
    answer = model.generate("How many singers are older than 30?", context=schema)
    assert answer.lower() == "select count(*) from singer where age > 30"
