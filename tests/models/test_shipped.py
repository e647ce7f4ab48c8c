"""The adapter that is shipped fits the base that its card names."""

import re

import numpy as np
import pytest

from kerasft.models.adapter import read_info, read_tensors
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
