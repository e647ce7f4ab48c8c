"""The proof of a GGUF file: transformers, and llama.cpp where it is, give the live answers."""

from __future__ import annotations

import importlib.util

import pytest

from kerasft.export.gguf import write_gguf
from kerasft.export.verify import verify_folder
from tests.export.live import ask_here, live_model

pytestmark = pytest.mark.keras


def live(family, **options):
    settings = {"query_head_dim_normalize": True} if family == "gemma2" else {}
    return live_model(family, base_dtype="bfloat16", **settings, **options)


@pytest.mark.once
@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("gemma", "q8_0"),
        pytest.param("gemma2", "float32", marks=pytest.mark.slow),  # test_matrix.py has it too
        ("gemma3", "float32"),
        ("llama3", "float32"),
        pytest.param("llama3", "q8_0", marks=pytest.mark.slow),
    ],
)
def test_every_family_stays_within_the_bound_of_its_type(tmp_path, family, dtype):
    model = live(family, layout="peft")
    write_gguf(model, tmp_path, dtype=dtype)
    verification = verify_folder(model, tmp_path, live=lambda: model, ask=ask_here)
    assert verification.faults == []
    assert (verification.format, verification.method) == ("gguf", "logits and tensors")
    assert verification.bound_dtype == verification.weight_dtype == dtype
    assert verification.tokenizer == {"texts": 12, "equal": 12}
    assert verification.probes["past_window"]
    comparison = verification.comparison
    assert comparison.recovered == pytest.approx(1, abs=0.01)
    if dtype == "float32":
        assert comparison.largest_difference < 1e-4
        assert verification.greedy["equal"] == 3
    else:
        assert comparison.largest_difference > 1e-3


@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="needs llama.cpp; pip install llama-cpp-python compiles it",
)
@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3", "llama3"])
def test_llama_cpp_goes_on_with_the_same_tokens(tmp_path, family):
    model = live(family)
    write_gguf(model, tmp_path, dtype="float16")
    verification = verify_folder(model, tmp_path, live=lambda: model, ask=ask_here)
    assert verification.faults == []
    ran = verification.extra["runs_in"]
    assert ran["llama_cpp"]
    assert (ran["equal"], ran["of"]) == (3, 3)
