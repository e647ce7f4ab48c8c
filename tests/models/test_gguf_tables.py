"""Each family's GGUF layout and metadata, held against llama.cpp's rules and read back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerasft.errors import ModelError
from kerasft.models.families import FAMILIES, of_gguf
from tests.tiny import tiny_arrays, tiny_config

NAMES = tuple(FAMILIES)


def expressible(name: str) -> dict[str, Any]:
    """A tiny config that llama.cpp runs as it is."""
    by_head = {"query_head_dim_normalize": True} if name != "llama3" else {}
    return tiny_config(name) | by_head


def as_file(name: str, config: dict[str, Any]) -> SimpleNamespace:
    """What a reader of a GGUF file would see: float32 numbers, the tokens' count."""
    family = FAMILIES[name]
    metadata = {
        f"{family.gguf_architecture}.{key}": float(np.float32(value))
        if isinstance(value, float)
        else value
        for key, value in family.gguf_metadata(config).items()
    }
    metadata["general.architecture"] = family.gguf_architecture
    metadata["tokenizer.ggml.tokens"] = ["t"] * config["vocabulary_size"]
    tensors = family.gguf_tensors(config)
    names = {spec.gguf: None for spec in family.tensors(config)}
    return SimpleNamespace(metadata=metadata, tensors=names | tensors, read=tensors.__getitem__)


@pytest.mark.parametrize("name", NAMES)
def test_what_gguf_stores_is_read_back(name):
    arrays = tiny_arrays(name)
    for spec in FAMILIES[name].tensors(tiny_config(name)):
        array = arrays[spec.name]
        stored = spec.to_gguf(array)
        assert stored.shape == spec.hf_shape
        assert stored.dtype == array.dtype
        if spec.gguf_offset:
            np.testing.assert_allclose(stored, 1 + array, rtol=1e-6)
            np.testing.assert_allclose(spec.from_gguf(stored), array, atol=2**-23)
        else:
            np.testing.assert_array_equal(spec.from_gguf(stored), array)


def test_rotary_halves_of_a_head_alternate_in_gguf():
    specs = {spec.gguf: spec for spec in FAMILIES["llama3"].tensors(tiny_config("llama3"))}
    width = 8  # of a head, 32 hidden by 4 heads
    for name, heads in (("attn_q", 4), ("attn_k", 2)):
        spec = specs[f"blk.0.{name}.weight"]
        rows = np.repeat(np.arange(heads * width, dtype="float32")[:, None], 32, axis=1)
        stored = spec.to_gguf(spec.from_hf(rows))[:, 0]
        assert stored[: 2 * width].tolist() == [
            *(0, 4, 1, 5, 2, 6, 3, 7),
            *(8, 12, 9, 13, 10, 14, 11, 15),
        ]
    value = specs["blk.0.attn_v.weight"]
    rows = np.arange(16 * 32, dtype="float32").reshape(16, 32)
    np.testing.assert_array_equal(value.to_gguf(value.from_hf(rows)), rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_gives_the_config_back(name):
    config = expressible(name)
    file = as_file(name, config)
    assert of_gguf(file) is FAMILIES[name]
    read = FAMILIES[name].config_from_gguf(file)
    # A window that no block uses is not written.
    unused = {"sliding_window_size"} if name == "gemma" else set()
    assert {key: read[key] for key in read.keys() - unused} == {
        key: config[key] for key in config.keys() - unused
    }


def test_gemma3_without_a_window_has_global_blocks_alone():
    config = tiny_config("gemma3") | {"use_sliding_window_attention": False}
    file = as_file("gemma3", config)
    assert "gemma3.attention.sliding_window" not in file.metadata
    read = FAMILIES["gemma3"].config_from_gguf(file)
    assert set(FAMILIES["gemma3"].block_kinds(read)) == {"global"}


def test_llama_stores_the_divisors_of_its_frequencies():
    config = tiny_config("llama3") | {"hidden_dim": 512}
    divisors = FAMILIES["llama3"].gguf_tensors(config)["rope_freqs.weight"]
    assert divisors.shape == (64,)
    assert divisors.dtype == np.float32
    # The Llama 3.1 release: high frequencies as they are, low ones divided by 8.
    assert divisors[0] == 1
    assert divisors[-1] == pytest.approx(8)
    assert (np.diff(divisors) >= 0).all()
    plain = config | dict.fromkeys(
        (
            "rope_frequency_adjustment_factor",
            "rope_low_freq_factor",
            "rope_high_freq_factor",
            "rope_pretraining_sequence_length",
        )
    )
    assert FAMILIES["llama3"].gguf_tensors(plain) == {}


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("gemma", {"query_head_dim_normalize": False}, "query scale"),
        ("gemma", {"final_logit_soft_cap": 30.0}, "final_logit_soft_cap"),
        ("gemma2", {}, "query scale"),
        ("gemma2", {"attention_logit_soft_cap": None}, "attention_logit_soft_cap"),
        ("gemma2", {"use_sliding_window_attention": False}, "use_sliding_window_attention"),
        ("gemma3", {"query_head_dim_normalize": False}, "query scale"),
        ("gemma3", {"num_layers": 62}, "query scale"),
        ("gemma3", {"local_rope_scaling_factor": 2.0}, "local_rope_scaling_factor"),
        ("gemma3", {"attention_logit_soft_cap": 50.0}, "attention_logit_soft_cap"),
    ],
)
def test_what_llama_cpp_would_run_otherwise_is_refused(name, change, word):
    with pytest.raises(ModelError, match=word):
        FAMILIES[name].gguf_metadata(tiny_config(name) | change)


def test_the_largest_models_divide_queries_by_hidden_over_heads():
    for name, layers in (("gemma2", 46), ("gemma3", 62)):
        config = tiny_config(name) | {"num_layers": layers, "query_head_dim_normalize": False}
        assert FAMILIES[name].gguf_metadata(config)["block_count"] == layers
        read = FAMILIES[name].config_from_gguf(as_file(name, config))
        assert read["query_head_dim_normalize"] is False
