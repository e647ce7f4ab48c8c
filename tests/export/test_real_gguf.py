"""A GGUF file of the real Gemma 3 270M: takes minutes and about 4 GB."""

import importlib.util

import pytest

from kerasft.export import export_run
from tests.export.live import make_run

pytestmark = [pytest.mark.keras, pytest.mark.real_weights, pytest.mark.slow]


@pytest.mark.parametrize("dtype", ["float16", "q8_0"])
def test_the_file_of_gemma_is_the_live_model_and_runs(tmp_path, dtype, backend):
    trained = make_run(tmp_path / "run", "gemma3-270m", dtype="bfloat16", size=0.02)
    exported = export_run(trained, "gguf", tmp_path / "model", dtype=dtype, backend=backend)
    proof = exported.verification
    assert proof.faults == []
    assert proof.tensors.wrong_values == 0
    assert proof.comparison.mean_distance_from_base > 1
    assert proof.tokenizer["equal"] == 12
    if importlib.util.find_spec("llama_cpp") and dtype == "float16":
        assert proof.extra["runs_in"]["equal"] == proof.extra["runs_in"]["of"]
