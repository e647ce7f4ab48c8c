"""PEFT's files: what is in them, and that PEFT makes of them what was trained."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.errors import AdapterError, ExportError
from kerasft.export.hf import write_hf
from kerasft.export.peft import write_peft
from kerasft.export.safetensors_writer import read_header
from kerasft.models.deltas import delta_of
from kerasft.models.peft_files import read_peft, read_peft_files
from kerasft.models.safetensors_files import SafetensorsFiles
from tests.export.live import tiny_weights


def written(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


# What PEFT and vLLM look for, spelt out: module, then (out, in) of its weight in the tiny
# Llama: 4 query and 2 key-value heads of width 8, hidden width 32, feed-forward width 48.
LLAMA = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (48, 32),
    "mlp.up_proj": (48, 32),
    "mlp.down_proj": (32, 48),
}


@pytest.mark.parametrize(
    ("layout", "ranks"),
    [
        ("peft", {}),
        ("keras", {"self_attn.q_proj": 8, "self_attn.k_proj": 4, "self_attn.v_proj": 4}),
    ],
)
def test_names_shapes_and_ranks_are_those_that_peft_and_vllm_read(tmp_path, layout, ranks):
    result = write_peft(tiny_weights("llama3", layout=layout), tmp_path, dtype="float32")
    expected = {}
    for layer in range(2):
        for module, (outputs, inputs) in LLAMA.items():
            name, rank = f"base_model.model.model.layers.{layer}.{module}", ranks.get(module, 2)
            expected[f"{name}.lora_A.weight"] = [rank, inputs]
            expected[f"{name}.lora_B.weight"] = [outputs, rank]
    header = read_header(tmp_path / "adapter_model.safetensors")
    assert {name: entry["shape"] for name, entry in header.items()} == expected
    assert {entry["dtype"] for entry in header.values()} == {"float32"}
    assert result.tensors == len(expected) == 28
    assert result.parameters == sum(int(np.prod(shape)) for shape in expected.values())
    assert result.files.keys() == {path.name for path in tmp_path.iterdir()}

    config = written(tmp_path, "adapter_config.json")
    largest = 8 if layout == "keras" else 2
    assert (config["r"], config["lora_alpha"]) == (largest, 2 * largest)
    assert config["target_modules"] == sorted(module.split(".")[1] for module in LLAMA)
    # A loader that knows `r` and `lora_alpha` alone has the scale of every module.
    for module in LLAMA:
        short = module.split(".")[1]
        rank = config["rank_pattern"].get(short, config["r"])
        assert rank == ranks.get(module, 2)
        assert config["alpha_pattern"].get(short, config["lora_alpha"]) / rank == 2


@pytest.mark.parametrize(
    ("preset", "base", "revision"),
    [
        ("hf://org/name", "org/name", None),
        ("hf://org/name@abc", "org/name", "abc"),
        ("gemma3-270m", "google/gemma-3-270m", None),
        ("/home/someone/base", None, None),
    ],
)
def test_the_base_is_named_and_fingerprinted_without_folders(tmp_path, preset, base, revision):
    weights = tiny_weights("gemma3", preset=preset, targets=["value"], base_dtype="bfloat16")
    result = write_peft(weights, tmp_path, dtype="float32")
    config, described = written(tmp_path, "adapter_config.json"), written(tmp_path, "kerasft.json")
    assert (config["base_model_name_or_path"], config["revision"]) == (base, revision)
    assert described["base"]["fingerprint"] == weights.fingerprint
    assert described["base"]["dtype"] == "bfloat16"
    assert described["base"]["base_id"] == "tiny-gemma3"
    dequantised = preset == "gemma3-270m"
    assert described["base"]["dequantised"] == dequantised
    assert any("publisher's own model the answers differ" in n for n in result.notes) == dequantised
    for path in tmp_path.iterdir():
        assert b"/home/someone" not in path.read_bytes(), path.name


def test_a_checkpoint_around_the_text_model_is_not_named_as_the_base(tmp_path):
    weights = tiny_weights("gemma3", preset="hf://google/gemma-3-4b-it")
    weights = replace(weights, wrapped=True)
    result = write_peft(weights, tmp_path, dtype="float32")
    assert written(tmp_path, "adapter_config.json")["base_model_name_or_path"] is None
    assert written(tmp_path, "kerasft.json")["base"]["name"] == "google/gemma-3-4b-it"
    assert "PEFT does not find the layers in google/gemma-3-4b-it" in result.notes[-1]
    assert "--with-base" in result.notes[-1]


def test_notes_tell_the_ranks_and_what_vllm_needs(tmp_path):
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    exact = write_peft(tiny_weights("llama3", rank=4), folders[0], dtype="float32")
    assert "rank 4 becomes query 16, key 8, value 8, exactly" in exact.notes[0]
    assert exact.notes[1] == "vLLM needs --max-lora-rank 16."
    shared = write_peft(tiny_weights("llama3", rank=4), folders[1], dtype="float32", share_rank=0)
    described = written(folders[1], "kerasft.json")
    assert described["share_rank"] == 4 and set(described["ranks"].values()) == {4}
    assert f"off by {described['relative_error']:.2%}" in shared.notes[0]
    assert 0.1 < described["relative_error"] < 1
    assert written(folders[1], "adapter_config.json")["rank_pattern"] == {}
    # Its base, somebody's folder, is nowhere on the Hub.
    assert exact.notes[2].startswith("PEFT loads it on tiny-llama3 in Hugging Face format. --with-")
    enough = write_peft(tiny_weights("llama3", rank=4), folders[2], dtype="float32", share_rank=600)
    assert "rank 600, which holds the adapter exactly" in enough.notes[0]
    assert "vLLM takes ranks up to 512" in enough.notes[1]


def test_what_cannot_be_written_is_said(tmp_path):
    weights = tiny_weights("gemma")
    with pytest.raises(ExportError, match="--share-rank is -1"):
        write_peft(weights, tmp_path, dtype="float32", share_rank=-1)
    name = "decoder_block_0/attention/query/a"
    weights.tensors[name] = weights.tensors[name] * np.float32(1e6)
    with pytest.raises(ExportError, match=r"does not fit float16 \(1\):\n.*q_proj.lora_A"):
        write_peft(weights, tmp_path, dtype="float16")
    weights.tensors.pop("decoder_block_1/ffw/up/b")
    with pytest.raises(AdapterError, match="decoder_block_1/ffw/up/b is missing"):
        write_peft(weights, tmp_path, dtype="float32")
    weights.tensors.clear()
    with pytest.raises(ExportError, match="no adapter to write"):
        write_peft(weights, tmp_path, dtype="float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alpha", [6, 0.7, None])
def test_the_peft_layout_comes_back_as_it_was(tmp_path, alpha):
    weights = tiny_weights("gemma2", layout="peft", rank=3, alpha=alpha)
    write_peft(weights, tmp_path, dtype="float32")
    settings, tensors = read_peft(tmp_path, weights.family, weights.config)
    assert settings.alpha == (3 if alpha is None else alpha)
    assert (settings.layout, settings.rank, settings.scale) == (
        "peft",
        3,
        pytest.approx((alpha or 3) / 3),
    )
    assert set(settings.target_layers) == set(weights.lora_settings.target_layers)
    assert tensors.keys() == weights.tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, weights.tensors[name])


def test_the_keras_layout_comes_back_in_the_peft_layout(tmp_path):
    weights = tiny_weights("gemma3")
    write_peft(weights, tmp_path, dtype="float32")
    settings, tensors = read_peft(tmp_path, weights.family, weights.config)
    assert (settings.layout, settings.rank, settings.scale) == ("peft", 8, 2)
    for spec in weights.family.tensors(weights.config):
        if spec.target:
            np.testing.assert_allclose(
                delta_of(spec, tensors, settings), weights.delta(spec.name), atol=1e-5
            )


def logits(model: Any) -> np.ndarray:
    import torch

    ids = torch.arange(4, 60)[None]
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits.numpy()


@pytest.mark.parametrize(
    ("family", "layout", "dtype"),
    [
        ("gemma", "keras", "float32"),
        ("gemma2", "peft", "float32"),
        ("gemma3", "keras", "float32"),
        ("llama3", "keras", "float32"),
        ("llama3", "peft", "bfloat16"),
    ],
)
def test_peft_makes_of_it_the_merged_model_without_a_warning(tmp_path, family, layout, dtype):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    adapter.mkdir(), merged.mkdir()
    weights = tiny_weights(family, layout=layout)
    write_peft(weights, adapter, dtype=dtype, with_base=True)
    write_hf(weights, merged, dtype="float32")
    load = transformers.AutoModelForCausalLM.from_pretrained
    expected = logits(load(merged, dtype="float32"))
    base = load(adapter / "base", dtype="float32")
    untouched = logits(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what PEFT warns with
        model = peft.PeftModel.from_pretrained(base, adapter)
    found = logits(model)
    range_ = np.ptp(expected)
    assert np.abs(untouched - expected).max() > 0.1 * range_
    allowed = (1e-5 if dtype == "float32" else 0.05) * range_
    assert np.abs(found - expected).max() < allowed
    assert np.abs(logits(model.merge_and_unload()) - found).max() < 1e-4
    tokenizer = transformers.AutoTokenizer.from_pretrained(adapter)
    text = "SELECT name FROM orders;"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == weights.tokenizer.encode(text)


def test_the_base_beside_the_adapter_is_the_one_that_was_trained_on(tmp_path):
    weights = tiny_weights("gemma", base_dtype="bfloat16")
    result = write_peft(weights, tmp_path, dtype="float32", with_base=True)
    assert "base/model.safetensors" in result.files
    stored = SafetensorsFiles(tmp_path / "base")
    for spec in weights.family.tensors(weights.config):
        np.testing.assert_array_equal(
            spec.from_hf(stored.read(spec.hf)).view(np.uint16),
            weights.base_array(spec).view(np.uint16),
        )


def test_bfloat16_takes_half(tmp_path):
    weights = tiny_weights("gemma")
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        (tmp_path / dtype).mkdir()
        write_peft(weights, tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "adapter_model.safetensors").stat().st_size
    parameters = sum(array.size for array in weights.tensors.values())
    assert sizes["float32"] - sizes["bfloat16"] > 2 * parameters
    modules = read_peft_files(tmp_path / "bfloat16").modules.values()
    assert {str(module.a.dtype) for module in modules} == {"bfloat16"}
