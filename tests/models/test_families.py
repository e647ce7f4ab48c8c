"""Each table, held against transformers: same names, same shapes, same logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerasft.errors import ModelError
from kerasft.models.families import FAMILIES, TARGETS, of_backbone, of_gguf, of_hf_config
from kerasft.models.families.base import follow
from tests.models.conftest import hf_logits, hf_model
from tests.tiny import keras_logits, tiny_arrays, tiny_causal_lm, tiny_config, tiny_tokens

pytestmark = pytest.mark.keras
NAMES = tuple(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree_with_transformers_past_the_window(name, tmp_path):
    tokens = tiny_tokens()
    ours = keras_logits(tiny_causal_lm(name), tokens)
    theirs = hf_logits(hf_model(name, tmp_path), tokens)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_table_covers_every_variable_once(name):
    family, config = FAMILIES[name], tiny_config(name)
    backbone = tiny_causal_lm(name).backbone
    specs = family.tensors(config)
    variables = {id(spec.variable(backbone)): spec for spec in specs}
    assert len(variables) == len(specs)
    assert set(variables) == {id(variable) for variable in backbone.weights}
    for spec in specs:
        assert tuple(spec.variable(backbone).shape) == spec.shape
    assert family.parameters(config) == backbone.count_params()


@pytest.mark.parametrize("name", NAMES)
def test_layouts_round_trip(name):
    arrays = tiny_arrays(name)
    for spec in FAMILIES[name].tensors(tiny_config(name)):
        there = spec.to_hf(arrays[spec.name])
        assert there.shape == spec.hf_shape
        np.testing.assert_array_equal(spec.from_hf(there), arrays[spec.name])


def test_wrong_shapes_are_refused():
    spec = FAMILIES["gemma"].tensors(tiny_config("gemma"))[1]
    for turn in (spec.to_hf, spec.from_hf, spec.from_gguf):
        with pytest.raises(ModelError, match="query/kernel: expected"):
            turn(np.zeros((2, 2), "float32"))


@pytest.mark.parametrize("name", NAMES)
def test_targets_lead_to_the_layer_that_holds_the_kernel(name):
    family = FAMILIES[name]
    backbone = tiny_causal_lm(name).backbone
    assert set(family.targets) == set(TARGETS)
    blocks = family.blocks(backbone)
    for spec in family.tensors(tiny_config(name)):
        if spec.target:
            layer = follow(blocks[spec.layer], family.targets[spec.target])
            assert layer is spec.owner(backbone)
            assert spec.name.endswith(f"/{spec.target}/kernel")


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_keras_and_hugging_face(name):
    family, config = FAMILIES[name], tiny_config(name)
    backbone = tiny_causal_lm(name).backbone
    assert of_backbone(backbone) is family
    assert family.config_of(backbone) == config
    written = family.hf_config(config, dtype="float32", bos_id=2, eos_ids=[1], pad_id=0)
    assert of_hf_config(written) is family
    assert family.config_from_hf(written) == config


@pytest.mark.parametrize("name", NAMES)
def test_config_written_by_transformers_is_read(name, tmp_path):
    model = hf_model(name, tmp_path / "ours")
    written = model.config.to_dict()
    if name != "gemma":
        assert "rope_parameters" in written  # the transformers 5 way
    assert FAMILIES[name].config_from_hf(written) == tiny_config(name)


def test_nested_gemma3_config_is_read_without_its_image_rows():
    text = FAMILIES["gemma3"].hf_config(
        tiny_config("gemma3"), dtype="float32", bos_id=2, eos_ids=[1], pad_id=0
    )
    text["vocab_size"] = 262_208
    config = FAMILIES["gemma3"].config_from_hf({"model_type": "gemma3", "text_config": text})
    assert config == tiny_config("gemma3") | {"vocabulary_size": 262_144}


REFUSED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "gemma": [({"rope_theta": 5e5}, "rope_theta"), ({"rms_norm_eps": 1e-5}, "rms_norm_eps")],
    "gemma2": [({"query_pre_attn_scalar": 99}, "query_pre_attn_scalar")],
    "gemma3": [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "global rope scaling"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": -3}, "num_hidden_layers"),
    ],
    "llama3": [
        ({"head_dim": 24}, "head width"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_key_value_heads": 3}, "shared"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "linear rope scaling"),
    ],
}


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [(name, change, said) for name, cases in REFUSED.items() for change, said in cases],
)
def test_what_kerashub_cannot_express_is_refused(name, change, said):
    family = FAMILIES[name]
    written = family.hf_config(tiny_config(name), dtype="float32", bos_id=2, eos_ids=[1], pad_id=0)
    with pytest.raises(ModelError, match=said):
        family.config_from_hf(written | change)


def test_a_llama_preset_with_the_scaling_that_kerashub_ignores_is_refused():
    values = tiny_config("llama3")
    assert FAMILIES["llama3"].config_from_keras(values) == values
    with pytest.raises(ModelError, match="linear rope scaling"):
        FAMILIES["llama3"].config_from_keras(values | {"rope_position_scaling_factor": 4.0})


def test_all_faults_of_a_config_come_at_once():
    with pytest.raises(ModelError) as caught:
        FAMILIES["llama3"].config_from_hf({"mlp_bias": True, "hidden_act": "relu"})
    assert all(word in str(caught.value) for word in ("vocab_size", "mlp_bias", "hidden_act"))


def test_unknown_families_are_named_with_the_known_ones():
    for call in (
        lambda: of_hf_config({"model_type": "mamba"}),
        lambda: of_backbone(SimpleNamespace()),
    ):
        with pytest.raises(ModelError, match="gemma, gemma2, gemma3, llama3"):
            call()
    with pytest.raises(ModelError, match=r"'qwen2'.*gemma, gemma2, gemma3, llama3"):
        of_gguf(SimpleNamespace(metadata={"general.architecture": "qwen2"}))


def test_block_kinds_follow_the_published_patterns():
    gemma3 = tiny_config("gemma3") | {"num_layers": 18}
    kinds = FAMILIES["gemma3"].block_kinds(gemma3)
    assert [i + 1 for i, kind in enumerate(kinds) if kind == "global"] == [6, 12, 18]
    assert FAMILIES["gemma2"].block_kinds(tiny_config("gemma2")) == ("local", "global", "local")
    assert set(FAMILIES["llama3"].block_kinds(tiny_config("llama3"))) == {"global"}


@pytest.mark.parametrize("name", NAMES)
def test_any_json_in_a_config_gives_a_config_or_a_clear_error(name):
    family = FAMILIES[name]
    written = family.hf_config(tiny_config(name), dtype="float32", bos_id=2, eos_ids=[1], pad_id=0)
    keys = [*written, "rope_parameters", "rope_scaling", "layer_types", "sliding_window_pattern"]
    values = [None, True, -1, 0, 7, 2**70, 0.5, "x", [], ["x"], {}, {"full_attention": 3}]
    for key in keys:
        for value in values:
            try:
                family.tensors(family.config_from_hf({**written, key: value}))
            except ModelError as error:
                assert str(error)
