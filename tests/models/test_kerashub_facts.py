"""What KerasHub 0.32 does that kerasft works around: docs/kerashub.md describes each.

A test that fails here says that a release has mended something: then the way around it,
named in the page, can go.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.models.families import FAMILIES
from kerasft.models.hub import keras_hub
from tests.export.live import sentencepiece_proto
from tests.tiny import tiny_causal_lm, tiny_config, tiny_tokens

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(autouse=True)
def _on_one_backend(backend: str) -> None:
    if backend == "jax":
        pytest.skip("the faults are in Python that both backends share; torch shows them sooner")


def exported(backbone: Any, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """config.json and the tensors that `export_to_transformers` writes."""
    from safetensors.numpy import load_file

    backbone.export_to_transformers(str(folder))
    tensors = load_file(folder / "model.safetensors")
    return json.loads((folder / "config.json").read_text()), tensors


def with_lora(name: str) -> tuple[Any, Any, np.ndarray]:
    """A tiny backbone with an adapter that moved, one adapted layer, and that layer's kernel."""
    import keras

    backbone = tiny_causal_lm(name).backbone
    layer = backbone.transformer_layers[0].attention.query_dense
    kernel = keras.ops.convert_to_numpy(layer._kernel).copy()
    backbone.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    return backbone, layer, kernel


@contextmanager
def cheap_collections() -> Iterator[None]:
    """Keras collects garbage at every kernel that it quantises: a second each."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def test_export_to_transformers_leaves_the_adapter_out(tmp_path):
    import keras

    backbone, layer, kernel = with_lora("gemma3")
    _, tensors = exported(backbone, tmp_path)
    (found,) = (value for key, value in tensors.items() if "layers.0.self_attn.q_proj" in key)
    (spec,) = (
        spec
        for spec in FAMILIES["gemma3"].tensors(tiny_config("gemma3"))
        if spec.name == "decoder_block_0/attention/query/kernel"
    )
    np.testing.assert_allclose(found, spec.to_hf(kernel), atol=1e-6)
    merged = keras.ops.convert_to_numpy(layer.kernel)
    assert np.abs(found - spec.to_hf(merged)).max() > 0.1


def test_export_to_transformers_scrambles_gemma_queries_that_are_wider_than_the_model(tmp_path):
    """Gemma 7B is one of those: 16 heads of 256 on a width of 3072."""
    _, tensors = exported(tiny_causal_lm("gemma").backbone, tmp_path)
    assert tensors["model.layers.0.self_attn.q_proj.weight"].shape == (32, 64)  # (64, 32) is right


def test_export_to_transformers_takes_gemma2_for_gemma(tmp_path):
    config, tensors = exported(tiny_causal_lm("gemma2").backbone, tmp_path)
    assert config["model_type"] == "gemma"
    assert "attn_logit_softcapping" not in config and "sliding_window" not in config
    assert not any("post_feedforward_layernorm" in name for name in tensors)
    # Two key-value heads of 16; one is there.
    assert tensors["model.layers.0.self_attn.k_proj.weight"].shape == (16, 32)


def test_export_to_transformers_swaps_the_ends_of_gemma3(tmp_path):
    backbone = tiny_causal_lm("gemma3", dtype="mixed_bfloat16").backbone
    config, _ = exported(backbone, tmp_path)
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)  # Gemma's are 2 and 1
    assert config["torch_dtype"] == "mixed_bfloat16"


def test_export_to_transformers_writes_int8_without_scales_and_fails_on_int4(tmp_path):
    backbone = tiny_causal_lm("gemma").backbone
    with cheap_collections():
        backbone.quantize("int8")
    _, tensors = exported(backbone, tmp_path)
    assert any(value.dtype == np.int8 for value in tensors.values())
    assert not any("scale" in name for name in tensors)
    packed = tiny_causal_lm("gemma").backbone
    with cheap_collections():
        packed.quantize("int4")
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        packed.export_to_transformers(str(tmp_path / "int4"))


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_blocks_ignore_query_head_dim_normalize(name):
    table = FAMILIES[name]
    config = tiny_config(name) | {"query_head_dim_normalize": False}
    arguments = table.backbone_arguments(config, "float32")
    backbone = getattr(keras_hub().models, table.backbone_class)(**arguments)
    assert backbone.query_head_dim_normalize is False
    assert backbone.transformer_layers[0].attention.query_head_dim_normalize is True


def test_gemma_blocks_ignore_layer_norm_epsilon():
    config = tiny_config("gemma") | {"layer_norm_epsilon": 1e-3}
    backbone = keras_hub().models.GemmaBackbone(**config)
    assert backbone.layer_norm.epsilon == 1e-3
    assert backbone.transformer_layers[0].pre_attention_norm.epsilon == 1e-6


def test_llama_ignores_rope_position_scaling_factor():
    import keras

    tokens = tiny_tokens(length=8, batch=1)
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    found = []
    for factor in (1.0, 4.0):
        config = tiny_config("llama3") | {"rope_position_scaling_factor": factor}
        keras.utils.set_random_seed(0)
        backbone = keras_hub().models.Llama3Backbone(**config)
        found.append(backbone.predict_on_batch(inputs))
    np.testing.assert_array_equal(*found)


def test_llama_presets_forget_tied_embeddings(tmp_path):
    models = keras_hub().models
    config = tiny_config("llama3") | {"tie_word_embeddings": True}
    backbone = models.Llama3Backbone(**config)
    assert "tie_word_embeddings" not in backbone.get_config()
    backbone.save_to_preset(str(tmp_path))
    with pytest.raises(ValueError, match="could not be loaded"):
        models.Backbone.from_preset(str(tmp_path))


def test_enable_lora_accepts_names_that_match_nothing():
    causal_lm = tiny_causal_lm("gemma")
    causal_lm.backbone.enable_lora(2, target_layer_names=["no_such_layer"])
    assert causal_lm.trainable_variables == []


def test_saved_weights_hold_the_adapter_merged_and_loading_zeroes_it(tmp_path):
    import keras

    backbone, layer, kernel = with_lora("gemma")
    backbone.save_weights(str(tmp_path / "model.weights.h5"))
    backbone.load_weights(str(tmp_path / "model.weights.h5"))
    assert np.abs(keras.ops.convert_to_numpy(layer._kernel) - kernel).max() > 0.1
    for variable in (layer.lora_kernel_a, layer.lora_kernel_b):
        assert not np.any(keras.ops.convert_to_numpy(variable))


def test_backbones_from_quantised_presets_lose_their_types(tmp_path):
    backbone = tiny_causal_lm("gemma").backbone
    with cheap_collections():
        backbone.quantize("int8")
    backbone.save_to_preset(str(tmp_path))
    policy = json.loads((tmp_path / "config.json").read_text())["config"]["dtype"]
    assert policy["class_name"] == "DTypePolicyMap"
    with pytest.raises(ValueError, match="could not be loaded"):
        keras_hub().models.Backbone.from_preset(str(tmp_path))


def test_gemma3_generates_from_token_ids_only_with_its_preprocessor():
    causal_lm = tiny_causal_lm("gemma3")
    causal_lm.compile(sampler="greedy")
    ids = np.array([[2, 5, 6, 0]], np.int32)
    with pytest.raises((ValueError, TypeError)):
        causal_lm.generate({"token_ids": ids, "padding_mask": ids > 0}, stop_token_ids=None)


def test_gemma3_preprocessors_ask_for_tensorflow():
    models = keras_hub().models
    tokenizer = models.Gemma3Tokenizer(proto=sentencepiece_proto(), has_vision_tokens=False)
    with pytest.raises(ImportError, match="tensorflow"):
        models.Gemma3CausalLMPreprocessor(tokenizer)


def test_llama_tokenizers_forget_their_end_token():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>"]
    vocabulary = {token: index for index, token in enumerate(["a", "b", *special])}
    models = keras_hub().models
    tokenizer = models.Llama3Tokenizer(vocabulary=vocabulary, merges=[], eos_token="<|eot_id|>")
    assert tokenizer.end_token_id == vocabulary["<|eot_id|>"]
    again = models.Llama3Tokenizer.from_config(tokenizer.get_config())
    assert again.end_token == "<|end_of_text|>"


def test_llama_tokenizers_merge_words_that_the_vocabulary_holds_whole():
    """Llama 3's own tokenizer takes a word of its vocabulary as it is (`ignore_merges`)."""
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>"]
    vocabulary = {
        token: index for index, token in enumerate(["a", "b", "c", "ab", "abc", *special])
    }
    tokenizer = keras_hub().models.Llama3Tokenizer(vocabulary=vocabulary, merges=["a b"])
    assert [int(index) for index in tokenizer("abc")] == [vocabulary["ab"], vocabulary["c"]]
