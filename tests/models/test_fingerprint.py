"""Copies of the same weights agree; other weights do not."""

from __future__ import annotations

import json

import gguf
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerasft.models.families import FAMILIES
from kerasft.models.fingerprint import (
    array_reader,
    fingerprint,
    gguf_positions,
    hf_positions,
    keras_reader,
    positions,
)
from kerasft.models.gguf import GgufFile
from kerasft.models.safetensors_files import SafetensorsFiles
from tests.models.conftest import hf_state
from tests.models.gguf_writing import gemma3_config, write_gemma3
from tests.tiny import random_arrays, tiny_arrays, tiny_causal_lm, tiny_config


def of_arrays(family: str, arrays: dict[str, np.ndarray]) -> str:
    specs = FAMILIES[family].tensors(tiny_config(family))
    return fingerprint(specs, array_reader(lambda spec: arrays[spec.name]))


@pytest.mark.keras
@pytest.mark.parametrize("name", FAMILIES)
def test_live_model_agrees_with_its_arrays_in_either_precision(name):
    specs = FAMILIES[name].tensors(tiny_config(name))
    expected = of_arrays(name, tiny_arrays(name))
    for dtype in ("float32", "bfloat16"):
        backbone = tiny_causal_lm(name, dtype=dtype).backbone
        assert fingerprint(specs, keras_reader(backbone)) == expected


def test_hugging_face_and_gguf_copies_agree(tmp_path):
    config = gemma3_config()
    family = FAMILIES["gemma3"]
    specs = family.tensors(config)
    arrays = random_arrays("gemma3", config)
    expected = fingerprint(specs, array_reader(lambda spec: arrays[spec.name]))
    narrow = {n: a.astype(ml_dtypes.bfloat16) for n, a in hf_state("gemma3", config).items()}
    save_file(narrow, tmp_path / "model.safetensors")
    stored = SafetensorsFiles(tmp_path)
    assert fingerprint(specs, array_reader(lambda s: s.from_hf(stored.read(s.hf)))) == expected
    write_gemma3(tmp_path / "tiny.gguf", config)
    file = GgufFile(tmp_path / "tiny.gguf")
    assert fingerprint(specs, array_reader(lambda s: s.from_gguf(file.read(s.gguf)))) == expected


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
@pytest.mark.parametrize("name", FAMILIES)
def test_sampled_values_are_those_of_the_whole_tensor_in_every_layout(tmp_path, name, kind):
    """The file of a base is read at 64 places a tensor, not whole."""
    config = tiny_config(name)
    arrays = random_arrays(name, config)
    ggml = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "any")
    whole, flat = {}, {}
    for spec in FAMILIES[name].tensors(config):
        blocks = ggml if spec.hf_shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F32
        stored = np.ascontiguousarray(spec.to_gguf(arrays[spec.name]), np.float32)
        packed = gguf.quants.quantize(stored, blocks)
        writer.add_tensor(spec.name, packed, raw_dtype=blocks)
        whole[spec.name] = spec.from_gguf(gguf.quants.dequantize(packed, blocks))
        flat[spec.name] = spec.to_hf(arrays[spec.name]).reshape(-1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "tiny.gguf")
    for spec in FAMILIES[name].tensors(config):
        at = positions(spec)
        found = file.sample(spec.name, gguf_positions(spec, at)) - np.float32(spec.gguf_offset)
        np.testing.assert_array_equal(found, whole[spec.name].reshape(-1)[at], err_msg=spec.name)
        found = flat[spec.name][hf_positions(spec, at)]
        np.testing.assert_array_equal(found, arrays[spec.name].reshape(-1)[at], err_msg=spec.name)


@pytest.mark.keras
def test_a_base_has_one_fingerprint_from_its_files_and_in_memory(tiny_gemma3, tmp_path):
    from kerasft.models.sources import load_base, open_base

    write_gemma3(tmp_path / "tiny.gguf", gemma3_config())
    for preset in (str(tiny_gemma3), str(tmp_path / "tiny.gguf")):
        for dtype in ("float32", "bfloat16"):
            opened, _ = open_base(preset)
            assert opened.fingerprint(dtype) == load_base(preset, dtype=dtype).fingerprint


def test_a_quantised_copy_is_another_base():
    arrays = tiny_arrays("llama3")
    kind = gguf.GGMLQuantizationType.Q4_0
    name = "token_embedding/embeddings"
    blocks = gguf.quants.quantize(arrays[name], kind)
    quantised = {**arrays, name: gguf.quants.dequantize(blocks, kind)}
    assert of_arrays("llama3", quantised) != of_arrays("llama3", arrays)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_kernel_counts(name):
    arrays = tiny_arrays(name)
    seen = {of_arrays(name, arrays)}
    kernels = [key for key, array in arrays.items() if array.ndim > 1]
    for key in kernels:
        seen.add(of_arrays(name, {**arrays, key: arrays[key] * 1.02}))
    assert len(seen) == 1 + len(kernels)


def test_positions_are_fixed_spread_and_inside():
    specs = FAMILIES["gemma3"].tensors(tiny_config("gemma3"))
    for spec in specs:
        at = positions(spec)
        np.testing.assert_array_equal(at, positions(spec))
        assert at.min() >= 0 and at.max() < spec.size
        if spec.size > 1000:
            assert len(at) > 50 and at.min() < spec.size / 4 and at.max() > 3 * spec.size / 4


def test_the_shipped_tiny_model_keeps_its_fingerprint(tiny_gemma3):
    family = FAMILIES["gemma3"]
    config = family.config_from_hf(json.loads((tiny_gemma3 / "config.json").read_text()))
    stored = SafetensorsFiles(tiny_gemma3)
    found = fingerprint(
        family.tensors(config), array_reader(lambda s: s.from_hf(stored.read(s.hf)))
    )
    # Adapters name their base by this; a change of the formula would orphan them all.
    assert found == "0bb590b9e65e2d4c8a09aa04b9d8d5f366c5a7e239fba02b670fcb5006354485"
