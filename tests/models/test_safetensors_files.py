"""Safetensors read one tensor at a time, and errors instead of crashes."""

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerasft.errors import ModelError
from kerasft.models.safetensors_files import SafetensorsFiles


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
def test_values_and_types_are_those_of_the_file(tmp_path, dtype):
    values = np.random.default_rng(0).standard_normal((3, 5)).astype(dtype)
    save_file({"a": values, "b": values[:0]}, tmp_path / "model.safetensors")
    stored = SafetensorsFiles(tmp_path)
    assert "a" in stored and "c" not in stored
    assert stored.shape("b") == (0, 5)
    read = stored.read("a")
    assert read.dtype == values.dtype and stored.dtype("a") == values.dtype.name
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(stored.sample("a", np.array([7, 0, 14])), values.flat[[7, 0, 14]])
    assert stored.read("b").size == 0


def test_a_file_that_was_cut_off_since_is_refused(tmp_path):
    save_file({"a": np.ones((64, 64), "float32")}, tmp_path / "model.safetensors")
    stored = SafetensorsFiles(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match="bytes early"):
        stored.read("a")


def test_integer_weights_are_refused(tmp_path):
    save_file({"a": np.zeros((2, 2), "int8")}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"I8.*not quantised"):
        SafetensorsFiles(tmp_path).read("a")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 2**60]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": "22", "data_offsets": [0, 16]},
        {"dtype": ["F32"], "shape": [2, 2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2, 2]},
        7,
    ],
)
def test_a_lying_header_is_refused(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(16)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="Download it again"):
        SafetensorsFiles(tmp_path)
