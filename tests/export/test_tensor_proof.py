"""What goes past rounding is found in any single tensor, and rounding itself never is."""

import numpy as np
import pytest

from kerasft.export.hf import stored_hf, write_hf
from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.export.tensor_proof import compare_tensors, judge_training
from tests.export.live import tiny_weights
from tests.export.spoilers import ONE, SPOILERS


def in_blocks(spec):
    """Whether ggml can keep a tensor in blocks of 32."""
    return bool(spec.target) and spec.hf_shape[-1] % 32 == 0


class Held:
    """Stored values in memory: base + delta, changed by a function of spec and array."""

    def __init__(self, weights, dtype, change):
        self.weights, self.dtype, self.change = weights, dtype, change

    def tensor(self, spec):
        delta = self.weights.delta(spec.name)
        whole = self.weights.base_array(spec).astype(np.float32)
        return self.change(spec, whole if delta is None else whole + delta)

    def dtype_of(self, spec):
        return self.dtype if self.dtype != "q8_0" or in_blocks(spec) else "float32"

    def faults(self):
        return []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("base_dtype", ["float32", "bfloat16"])
def test_a_right_merge_is_within_rounding(tmp_path, dtype, base_dtype):
    weights = tiny_weights("llama3", base_dtype=base_dtype)
    write_hf(weights, tmp_path, dtype=dtype)
    comparison, faults = compare_tensors(weights, stored_hf(tmp_path, weights))
    assert faults == [] and comparison.wrong_values == comparison.wrong_tensors == 0
    assert comparison.largest_share <= 1
    assert comparison.tensors == 21 and comparison.adapted == 14
    assert comparison.values == weights.family.parameters(weights.config)
    assert comparison.recovered == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [0.3, 0.01])
@pytest.mark.parametrize("layout", ["keras", "peft"])
@pytest.mark.parametrize("name", sorted(SPOILERS.keys() - {"wrong_eos"}))
def test_a_wrong_merge_is_found(tmp_path, name, layout, size, dtype):
    weights = tiny_weights("gemma3", base_dtype="bfloat16", layout=layout, size=size)
    write_hf(SPOILERS[name](weights), tmp_path, dtype=dtype)
    comparison, faults = compare_tensors(weights, stored_hf(tmp_path, weights))
    wrong = {"all_lost": 49, "scale_doubled": 49, "gate_and_up_swapped": 14}.get(name, 1)
    assert comparison.wrong_tensors == len(faults) == wrong
    assert comparison.largest_share > 5
    if name == "one_lost":
        assert faults[0].startswith(f"{ONE}/kernel: ")
        assert faults[0].endswith("; 0.0% of its delta is there")
    if name == "all_lost":
        assert comparison.recovered == pytest.approx(0, abs=1e-6)
    if name == "scale_doubled":
        assert comparison.recovered == pytest.approx(2, abs=2e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_value_one_place_beside_the_rounded_one_is_found(dtype):
    """Half a last place is allowed; the next number of the type is half a place too far."""
    weights = tiny_weights("gemma", base_dtype=dtype, size=0)

    def next_number(spec, array):
        rounded = array.astype(numpy_dtype(dtype))
        if spec.name == f"{ONE}/kernel":
            rounded[1, 2, 3] = np.nextafter(rounded[1, 2, 3], numpy_dtype(dtype).type(9))
        return rounded

    comparison, faults = compare_tensors(weights, Held(weights, dtype, next_number))
    assert comparison.wrong_values == 1 and 1.5 < comparison.largest_share <= 2
    assert faults == [
        f"{ONE}/kernel: 1 of 2048 values differ by more than rounding to {dtype}, by up to "
        f"{comparison.largest_share:.3g} times as much"
    ]


def test_a_merge_in_the_stored_type_itself_is_within_rounding():
    """As others merge: the delta is rounded to bfloat16 before it is added to the base."""
    weights = tiny_weights("gemma", base_dtype="bfloat16")
    narrow = numpy_dtype("bfloat16")

    def merged_in_bfloat16(spec, array):
        delta, base = weights.delta(spec.name), weights.base_array(spec)
        return base if delta is None else base + delta.astype(narrow)

    comparison, faults = compare_tensors(weights, Held(weights, "bfloat16", merged_in_bfloat16))
    assert faults == [] and 0.5 < comparison.largest_share <= 1


def q8_0(spec, array):
    """A tensor through ggml's Q8_0, as its own package packs and unpacks it."""
    import gguf

    if not in_blocks(spec):
        return array
    kind = gguf.GGMLQuantizationType.Q8_0
    rows = np.ascontiguousarray(spec.to_hf(array))
    values = gguf.quants.dequantize(gguf.quants.quantize(rows, kind), kind)
    return spec.from_hf(values)


def test_q8_0_is_within_half_a_step_of_its_block():
    weights = tiny_weights("gemma", size=0.01)
    comparison, faults = compare_tensors(weights, Held(weights, "q8_0", q8_0))
    assert faults == [] and 0.8 < comparison.largest_share <= 1

    def lost(spec, array):
        return q8_0(spec, weights.base_array(spec) if spec.name == f"{ONE}/kernel" else array)

    _, faults = compare_tensors(weights, Held(weights, "q8_0", lost))
    assert len(faults) == 1 and faults[0].startswith(f"{ONE}/kernel: ")


@pytest.mark.parametrize("name", ["one_lost", "one_transposed", "of_another_layer"])
def test_a_delta_that_is_less_than_a_step_of_q8_0_is_missed_in_the_sum_over_its_tensor(name):
    settings = {"targets": ["query"], "base_dtype": "bfloat16"}
    weights = tiny_weights("gemma", size=5e-5, hidden_dim=4096, **settings)
    comparison, faults = compare_tensors(weights, Held(weights, "q8_0", q8_0))
    assert faults == []
    spoilt = SPOILERS[name](weights)

    def other(spec, array):
        delta = spoilt.delta(spec.name)
        base = weights.base_array(spec).astype(np.float32)
        return q8_0(spec, base if delta is None else base + delta)

    comparison, faults = compare_tensors(weights, Held(weights, "q8_0", other))
    assert comparison.wrong_values == 0 and comparison.wrong_tensors == 1
    (fault,) = faults
    assert fault.startswith(f"{ONE}/kernel: ") and "though each value is within" in fault


def test_training_that_rounding_takes_away_is_a_fault_where_no_logits_show_it():
    """Deltas of less than half a last place are rounded back to the base."""

    def rounded(spec, array):
        return array.astype(numpy_dtype("bfloat16"))

    for size, faults in ((0.01, 0), (3e-4, 1)):
        weights = tiny_weights("gemma", base_dtype="bfloat16", size=size)
        comparison, wrong = compare_tensors(weights, Held(weights, "bfloat16", rounded))
        assert wrong == []
        assert len(judge_training(comparison)) == faults
    assert "of what training changed is in the tensors" in judge_training(comparison)[0]
