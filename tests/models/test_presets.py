"""The table of published presets agrees with what KerasHub says of them."""

from __future__ import annotations

import pytest

from kerasft.models.families import FAMILIES
from kerasft.models.presets import KNOWN

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("preset", KNOWN)
def test_handle_and_parameter_count(preset):
    from kerasft.models.hub import keras_hub

    known = KNOWN[preset]
    family = FAMILIES[known.family]
    published = getattr(keras_hub().models, family.backbone_class).presets[preset]
    handle = published["kaggle_handle"].removeprefix("kaggle://")
    # KerasHub raises the version now and then; the rest names the same model.
    assert known.handle.rsplit("/", 1)[0] == handle.rsplit("/", 1)[0]
    assert family.parameters(known.config) == published["metadata"]["params"]


@pytest.mark.parametrize("preset", KNOWN)
def test_config_is_complete_and_survives_hugging_face(preset):
    known = KNOWN[preset]
    family = FAMILIES[known.family]
    assert set(known.config) == set(family.config_keys)
    written = family.hf_config(known.config, dtype="bfloat16", bos_id=2, eos_ids=[1], pad_id=0)
    assert family.config_from_hf(written) == known.config
