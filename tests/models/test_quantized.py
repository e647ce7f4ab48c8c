"""A KerasHub preset in int8 or int4 is read as the floats that it computes with."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.errors import ModelError
from kerasft.models.families import FAMILIES
from kerasft.models.keras_files import KerasFiles
from kerasft.models.opened import open_path
from kerasft.models.quantized import from_int8, packed_shape, scale_shape, unpack_int4
from kerasft.models.sources import open_base
from tests.tiny import keras_logits, tiny_causal_lm, tiny_config, tiny_tokens

NAMES = tuple(FAMILIES)


def specs_of(name: str) -> dict[str, Any]:
    return {spec.name: spec for spec in FAMILIES[name].tensors(tiny_config(name))}


def test_two_numbers_share_a_byte_the_first_in_the_low_half():
    packed = np.array([[0x21, 0x0F], [0x87, 0x70]], np.uint8).view(np.int8)
    np.testing.assert_array_equal(unpack_int4(packed, 4, 1), [[1, 2, -1, 0], [7, -8, 0, 7]])
    np.testing.assert_array_equal(unpack_int4(packed, 3, 0), [[1, -1], [2, 0], [7, 0]])


def test_scales_belong_to_the_outputs_of_a_kernel():
    gemma, llama = specs_of("gemma"), specs_of("llama3")
    block = "decoder_block_0"
    assert scale_shape(gemma[f"{block}/attention/key/kernel"]) == (2, 1, 16)
    assert scale_shape(gemma[f"{block}/attention/output/kernel"]) == (1, 1, 32)
    assert scale_shape(gemma[f"{block}/ffw/down/kernel"]) == (1, 32)
    assert scale_shape(gemma["token_embedding/embeddings"]) == (96, 1)
    assert scale_shape(llama[f"{block}/attention/query/kernel"]) == (1, 4, 8)
    assert scale_shape(llama["output_embedding/embeddings"]) == (1, 96)
    assert packed_shape(gemma[f"{block}/attention/key/kernel"]) == (32, 16)
    assert packed_shape(llama["output_embedding/embeddings"]) == (16, 96)
    spec = gemma[f"{block}/attention/key/kernel"]
    values = np.full(spec.shape, 10, np.int8)
    found = from_int8(spec, values, np.arange(1, 33, dtype=np.float32).reshape(1, 1, 2, 16))
    assert found[1, :, 3].tolist() == [np.float32(10) / 20] * 32


def quantised(name: str, how: str, folder: Path, dtype: str = "float32") -> Any:
    """A tiny model, quantised by KerasHub and saved as a preset."""
    from keras.quantizers import Int4QuantizationConfig, Int8QuantizationConfig

    configs = {
        "int8": lambda: Int8QuantizationConfig(activation_quantizer=None),
        "int4 in groups": lambda: Int4QuantizationConfig(block_size=8),
        "int4 by output": lambda: Int4QuantizationConfig(block_size=-1),
    }
    causal_lm = tiny_causal_lm(name, dtype=dtype)
    options = {"config": configs[how]()} if how in configs else {"mode": how.split()[0]}
    gc.freeze()  # Keras collects garbage at every kernel that it replaces: a second each
    causal_lm.backbone.quantize(**options)
    causal_lm.backbone.save_to_preset(str(folder))
    gc.unfreeze()
    return causal_lm


def dequantised(folder: Path) -> tuple[Any, Any]:
    """The opened preset, and the float model that kerasft makes of it."""
    opened = open_path(folder)
    causal_lm = opened.family.build(opened.config, "float32")
    opened.load_weights(causal_lm, "float32")
    return opened, causal_lm


CASES = [
    *[(name, "int8") for name in NAMES],
    ("gemma3", "int4 in groups"),
    ("gemma2", "int4 by output"),
    ("llama3", "int4 in groups"),
    ("llama3", "int4 by output"),
]
"""Every family, every layout; an untied head in each."""


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "how"), CASES)
def test_dequantised_weights_give_the_quantised_logits(tmp_path, name, how, backend):
    """With weights alone quantised, KerasHub's layers compute in float with just these values."""
    if backend == "jax":
        pytest.skip("files are read without a backend; torch computes the reference")
    theirs = quantised(name, how, tmp_path)
    opened, ours = dequantised(tmp_path)
    assert opened.config == tiny_config(name)
    assert opened.named("it") == f"it (dequantised from {how[:4]})"
    kinds = KerasFiles(tmp_path, opened.family).check(opened.specs)
    assert kinds == {how[:4], "float32"}
    tokens = tiny_tokens(length=16, batch=1)
    np.testing.assert_allclose(keras_logits(ours, tokens), keras_logits(theirs, tokens), atol=2e-5)
    plain = FAMILIES[name].tensors(opened.config)[0]
    at = np.array([0, 5, plain.size - 1])
    np.testing.assert_array_equal(
        opened.sample(plain, at), opened.read(plain, "float32").reshape(-1)[at]
    )


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_left_is_the_rounding_of_activations(tmp_path, backend):
    """By default int8 layers also round their inputs, to 1/127 of the largest: that error
    stays outside, and is of the size that it has beside the float model."""
    if backend == "jax":
        pytest.skip("files are read without a backend; torch computes the reference")
    name = "llama3"
    theirs = quantised(name, "int8 with activations", tmp_path)
    _, ours = dequantised(tmp_path)
    tokens = tiny_tokens(length=16, batch=1)
    found, expected = keras_logits(ours, tokens), keras_logits(theirs, tokens)
    difference = np.abs(found - expected)
    assert 1e-3 < difference.max() < 0.05 * np.ptp(expected)
    assert difference.mean() < 0.01 * np.ptp(expected)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bfloat16_preset_has_bfloat16_scales_and_another_fingerprint(tmp_path):
    theirs = quantised("gemma", "int8", tmp_path / "int8", dtype="bfloat16")
    scale = theirs.backbone.transformer_layers[0].ffw_linear.kernel_scale
    tiny_causal_lm("gemma", dtype="bfloat16").backbone.save_to_preset(str(tmp_path / "plain"))
    narrow, plain = open_path(tmp_path / "int8"), open_path(tmp_path / "plain")
    assert narrow.fingerprint("bfloat16") != plain.fingerprint("bfloat16")
    assert plain.name == "plain"
    down = specs_of("gemma")["decoder_block_0/ffw/down/kernel"]
    import keras

    values = keras.ops.convert_to_numpy(theirs.backbone.transformer_layers[0].ffw_linear._kernel)
    divisor = keras.ops.convert_to_numpy(keras.ops.cast(scale, "float32")).reshape(1, 32)
    np.testing.assert_array_equal(narrow.read(down, "float32"), values.astype(np.float32) / divisor)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_float8_is_refused(tmp_path):
    quantised("gemma", "float8", tmp_path)
    with pytest.raises(ModelError, match="quantised as float8"):
        open_path(tmp_path)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_on_a_quantised_base_is_exported_as_it_was_trained(tmp_path, monkeypatch):
    from kerasft.export.hf import stored_hf, write_hf
    from kerasft.export.tensor_proof import compare_tensors
    from kerasft.export.trained import open_trained
    from tests.export.live import make_run, sentencepiece_proto

    base = tmp_path / "int4"
    quantised("gemma3", "int4", base)
    (base / "assets/tokenizer").mkdir(parents=True)
    (base / "assets/tokenizer/vocabulary.spm").write_bytes(sentencepiece_proto())
    run = make_run(tmp_path / "run", str(base), dtype="bfloat16")
    weights = open_trained(run)
    assert weights.base_id == "int4 (dequantised from int4)"
    monkeypatch.setattr("kerasft.models.downloads.kaggle_folder", lambda _: base)
    handle = "kaggle://keras/gemma3/keras/tiny"
    assert open_base(handle)[1] == f"{handle} (dequantised from int4)"
    (tmp_path / "hf").mkdir()
    write_hf(weights, tmp_path / "hf", dtype="bfloat16")
    comparison, faults = compare_tensors(weights, stored_hf(tmp_path / "hf", weights))
    assert faults == [] and comparison.adapted > 0
