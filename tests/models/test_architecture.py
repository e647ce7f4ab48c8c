"""The numbers of a decoder, held against transformers, and its matrices and adapters."""

from __future__ import annotations

from math import prod

import keras
import numpy as np
import pytest

from kerasft.models.architecture import blocks_of, inverse_frequencies
from kerasft.models.deltas import delta_of
from kerasft.models.families import FAMILIES, TARGETS
from kerasft.models.lora import attach
from kerasft.recipe import LoraSettings
from tests.models.conftest import hf_model
from tests.tiny import tiny_arrays, tiny_causal_lm, tiny_config

pytestmark = pytest.mark.keras
NAMES = tuple(FAMILIES)

OF_TRANSFORMERS = {"local": "sliding_attention", "global": "full_attention"}


@pytest.mark.parametrize("family", NAMES)
def test_numbers_are_those_of_transformers(family, tmp_path):
    """Read from the modules that transformers builds, not from the config that we write."""
    found = FAMILIES[family].architecture(tiny_config(family))
    model = hf_model(family, tmp_path).model
    layer, config = model.layers[0], model.config
    assert len(found.kinds) == len(model.layers)
    if hasattr(config, "layer_types"):
        assert [OF_TRANSFORMERS[kind] for kind in found.kinds] == list(config.layer_types)
    else:
        assert set(found.kinds) == {"global"}
    attention = layer.self_attn
    assert found.query_scale == pytest.approx(attention.scaling)
    assert found.head_width == attention.head_dim
    assert found.query_heads * found.head_width == attention.q_proj.out_features
    assert found.key_value_heads * found.head_width == attention.k_proj.out_features
    assert found.attention_soft_cap == getattr(attention, "attn_logit_softcapping", None)
    assert found.query_key_norm == hasattr(attention, "q_norm")
    assert found.post_ffw_norm == hasattr(layer, "post_feedforward_layernorm")
    # Llama's layer of this name stands before the feed-forward layers.
    assert found.post_attention_norm == hasattr(layer, "pre_feedforward_layernorm")
    assert ("gelu" in type(layer.mlp.act_fn).__name__.lower()) == (found.activation == "gelu")
    norm = layer.input_layernorm
    assert found.norm_epsilon == getattr(norm, "eps", getattr(norm, "variance_epsilon", None))
    assert found.norm_offset == (0 if family == "llama3" else 1)
    for index, kind in enumerate(found.kinds):
        expected = getattr(model.layers[index].self_attn, "sliding_window", None)
        assert found.window_of(kind) == expected


@pytest.mark.parametrize("family", NAMES)
def test_rotary_frequencies_are_those_of_transformers(family, tmp_path):
    found = FAMILIES[family].architecture(tiny_config(family))
    rotary = hf_model(family, tmp_path).model.rotary_emb
    assert set(found.kinds) <= set(found.inverse_frequencies)
    for kind, values in found.inverse_frequencies.items():
        buffer = f"{OF_TRANSFORMERS[kind]}_inv_freq" if family == "gemma3" else "inv_freq"
        expected = getattr(rotary, buffer).numpy()
        assert values.dtype == np.float32 and values.shape == (found.head_width // 2,)
        np.testing.assert_allclose(values, expected, rtol=2e-6)
    if family == "gemma3":
        local, everywhere = (found.inverse_frequencies[kind] for kind in ("local", "global"))
        assert local[1] > 2 * everywhere[1]


def test_frequencies_fall_from_one_radian_a_position_by_the_wavelength():
    found = inverse_frequencies(8, 10_000.0, scaling=4.0)
    np.testing.assert_allclose(found, np.array([1, 0.1, 0.01, 0.001]) / 4, rtol=1e-6)


def test_gemma_2_of_27b_scales_queries_by_its_width_a_head():
    config = tiny_config("gemma2") | {"hidden_dim": 4608, "num_query_heads": 32, "head_dim": 128}
    table = FAMILIES["gemma2"]
    by_width = table.architecture(config | {"query_head_dim_normalize": False})
    by_head = table.architecture(config | {"query_head_dim_normalize": True})
    assert by_width.query_scale == pytest.approx(144**-0.5)
    assert by_head.query_scale == pytest.approx(128**-0.5)
    assert by_width.embedding_scale == pytest.approx(4608**0.5)


@pytest.mark.parametrize("layout", ["keras", "peft"])
@pytest.mark.parametrize("family", NAMES)
def test_projections_are_the_matrices_of_transformers_and_lead_to_their_adapters(family, layout):
    causal_lm = tiny_causal_lm(family)
    table, config = FAMILIES[family], tiny_config(family)
    settings = LoraSettings(rank=2, alpha=6.0, layout=layout, target_layers=["query", "output"])
    lora = attach(causal_lm, table, settings, seed=0)
    specs = {spec.name: spec for spec in table.tensors(config)}
    blocks = blocks_of(causal_lm.backbone, specs.values(), table.architecture(config).kinds, lora)
    assert len(blocks) == config["num_layers"]
    for index, block in enumerate(blocks):
        assert set(block.projections) == set(TARGETS)
        for target, projection in block.projections.items():
            (spec,) = (s for s in specs.values() if (s.layer, s.target) == (index, target))
            kernel = keras.ops.convert_to_numpy(projection.kernel)
            matrix = kernel.transpose(projection.axes).reshape(
                projection.outputs, projection.inputs
            )
            np.testing.assert_array_equal(matrix, spec.to_hf(tiny_arrays(family)[spec.name]))
            assert prod(projection.output_shape) == projection.outputs
            assert prod(projection.input_shape) == projection.inputs
            split = projection.output_shape + projection.input_shape
            again = matrix.reshape(split).transpose(projection.kernel_axes)
            np.testing.assert_array_equal(again, kernel)
            wanted = lora.layers.get(spec.name.removesuffix("/kernel"))
            assert projection.lora is wanted and (wanted is not None) == (
                target in settings.target_layers
            )
        for name, scale in block.norms.items():
            (spec,) = (s for s in specs.values() if s.name.endswith(f"_{index}/{name}/scale"))
            assert scale is spec.variable(causal_lm.backbone)
    assert set(blocks[0].norms) >= {"pre_attention_norm", "pre_ffw_norm"}


@pytest.mark.parametrize("family", NAMES)
def test_a_of_the_keras_layout_is_a_matrix_a_head_before_one_b(family):
    """(inputs, heads · rank) times B on the diagonal is what merging adds to the kernel."""
    causal_lm = tiny_causal_lm(family)
    table, config = FAMILIES[family], tiny_config(family)
    settings = LoraSettings(rank=2, alpha=6.0, layout="keras", target_layers=list(TARGETS))
    lora = attach(causal_lm, table, settings, seed=0)
    random = np.random.default_rng(0)
    lora.assign({n: random.standard_normal(v.shape) for n, v in lora.tensors().items()})
    block = blocks_of(
        causal_lm.backbone, table.tensors(config), table.architecture(config).kinds, lora
    )[0]
    for target, projection in block.projections.items():
        layer = projection.lora
        a, b = (keras.ops.convert_to_numpy(variable) for variable in (layer.a, layer.b))
        heads = projection.outputs // b.shape[1]
        a = a.transpose(projection.a_axes).reshape(projection.inputs, heads * 2)
        found = layer.scale * a @ np.kron(np.eye(heads), b)
        (spec,) = (s for s in table.tensors(config) if s.layer == 0 and s.target == target)
        delta = delta_of(spec, lora.tensors(), settings).transpose(projection.axes)
        expected = delta.reshape(projection.outputs, projection.inputs).T
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=target)
