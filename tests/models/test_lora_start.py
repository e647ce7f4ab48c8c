"""The values that an adapter starts from are those of the Keras side, in both layouts."""

from __future__ import annotations

import numpy as np
import pytest

from kerasft.models.families import FAMILIES
from kerasft.models.lora import attach
from kerasft.models.lora_start import starting_tensors
from kerasft.recipe import LoraSettings
from tests.engine.tuning import small_model
from tests.tiny import tiny_config

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("family", ["gemma3", "llama3"])
def test_they_are_what_keras_puts_on_a_model(family: str) -> None:
    # Named in another order than the model has them.
    targets = ["down", "gate", "output", "value", "query"]
    table, config = FAMILIES[family], tiny_config(family) | {"num_layers": 2}
    for layout in ("peft", "keras"):
        settings = LoraSettings(layout=layout, rank=3, target_layers=targets)
        found = attach(small_model(family, num_layers=2), table, settings, seed=11).tensors()
        start = starting_tensors(table, config, settings, seed=11)
        assert list(start) == list(found)
        for name, value in start.items():
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, found[name], name)
        other = starting_tensors(table, config, settings, seed=12)
        assert not any(
            np.array_equal(other[name], start[name]) for name in start if name[-1] == "a"
        )
