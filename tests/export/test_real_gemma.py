"""The proof on the real Gemma 3 270M: takes minutes and about 4 GB."""

import pytest

from kerasft.export import export_run
from tests.export.live import make_run

pytestmark = [pytest.mark.keras, pytest.mark.real_weights, pytest.mark.slow]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_export_of_gemma_is_the_live_model(tmp_path, dtype, backend):
    trained = make_run(tmp_path / "run", "gemma3-270m", dtype="bfloat16", size=0.02)
    exported = export_run(trained, "hf", tmp_path / "model", dtype=dtype, backend=backend)
    proof = exported.verification
    assert proof.faults == []
    assert proof.comparison.mean_distance_from_base > 1
    assert proof.probes["past_window"] and proof.tokenizer["equal"] == 12
    if dtype == "float32":
        assert proof.comparison.largest_difference < 1e-3
        assert proof.greedy["equal"] == proof.greedy["prompts"]
