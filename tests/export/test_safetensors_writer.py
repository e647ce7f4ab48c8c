"""Weight files are what safetensors reads, and are cut into shards where they should be."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from kerasft.errors import ExportError
from kerasft.export.safetensors_writer import Slot, numpy_dtype, read_header, write_weights


def slots(dtype: str, shapes: dict[str, tuple[int, ...]]) -> tuple[list[Slot], dict]:
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(shape).astype(numpy_dtype(dtype))
        for name, shape in shapes.items()
    }
    made = [Slot(name, shape, lambda name=name: arrays[name]) for name, shape in shapes.items()]
    return made, arrays


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_safetensors_reads_back_the_same_bits(tmp_path, dtype):
    made, arrays = slots(dtype, {"a": (3, 5), "b": (7,), "c": (2, 3, 4)})
    assert write_weights(tmp_path, made, dtype) == ["model.safetensors"]
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert read[name].tobytes() == array.tobytes()


def test_a_transposed_array_is_written_in_its_own_order(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_weights(tmp_path, [Slot("a", (3, 2), lambda: array)], "float32")
    assert (load_file(tmp_path / "model.safetensors")["a"] == array).all()


def test_shards_hold_their_limit_and_the_index_names_every_tensor(tmp_path):
    made, arrays = slots("bfloat16", {f"t{i}": (10,) for i in range(7)} | {"big": (50,)})
    files = write_weights(tmp_path, made, "bfloat16", limit=45)
    assert files[-1] == "model.safetensors.index.json"
    index = json.loads((tmp_path / files[-1]).read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in arrays.values())
    assert list(index["weight_map"]) == list(arrays)
    shards = {file: load_file(tmp_path / file) for file in files[:-1]}
    assert list(shards) == [f"model-{n:05d}-of-00005.safetensors" for n in range(1, 6)]
    for name, file in index["weight_map"].items():
        assert (shards[file].pop(name) == arrays[name]).all()
    assert not any(shards.values())
    sizes = [
        sum(np.prod(e["shape"]) * 2 for e in read_header(tmp_path / f).values()) for f in shards
    ]
    assert sizes == [40, 40, 40, 20, 100]


def test_one_tensor_at_a_time_is_computed(tmp_path):
    alive: list[str] = []

    def read(name: str) -> np.ndarray:
        alive.append(name)
        assert (tmp_path / "model.safetensors").exists()
        return np.zeros(4, np.float32)

    write_weights(tmp_path, [Slot(n, (4,), lambda n=n: read(n)) for n in "abc"], "float32")
    assert alive == ["a", "b", "c"]


def test_wrong_shapes_dtypes_and_names_are_refused(tmp_path):
    with pytest.raises(ExportError, match=r"a: expected float32 of shape \(2,\), got .* \(3,\)"):
        write_weights(tmp_path, [Slot("a", (2,), lambda: np.zeros(3, np.float32))], "float32")
    with pytest.raises(ExportError, match="expected float32"):
        write_weights(
            tmp_path, [Slot("a", (2,), lambda: np.zeros(2, ml_dtypes.bfloat16))], "float32"
        )
    with pytest.raises(ExportError, match="same name"):
        write_weights(tmp_path, slots("float32", {"a": (1,)})[0] * 2, "float32")
    with pytest.raises(ExportError, match="float8"):
        numpy_dtype("float8")


def test_a_damaged_header_is_an_export_error(tmp_path):
    made, _ = slots("float32", {"a": (3,)})
    write_weights(tmp_path, made, "float32")
    whole = (tmp_path / "model.safetensors").read_bytes()
    assert read_header(tmp_path / "model.safetensors") == {"a": {"dtype": "float32", "shape": [3]}}
    for cut in (0, 4, 8, 20):
        (tmp_path / "cut.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ExportError, match=r"cut\.safetensors"):
            read_header(tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(whole[:8] + b"x" * (len(whole) - 8))
    with pytest.raises(ExportError, match="not a safetensors file"):
        read_header(tmp_path / "cut.safetensors")
