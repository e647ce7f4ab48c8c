"""Copies of the same weights agree; other weights do not."""

from __future__ import annotations

import json

import gguf
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerasft.models.families import FAMILIES
from kerasft.models.fingerprint import array_reader, fingerprint, keras_reader, positions
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
