"""The proof on the real Gemma 3 270M in every format: takes minutes and about 4 GB."""

import pytest

from kerasft.export import export_run, verify_run
from tests.export.live import make_run

pytestmark = [pytest.mark.keras, pytest.mark.real_weights, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """By layout, a run over the embedded base with a random adapter."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        layout: make_run(folder / layout, "gemma3-270m", dtype="bfloat16", size=0.02, layout=layout)
        for layout in ("keras", "peft")
    }


@pytest.mark.parametrize(
    ("layout", "to", "dtype"),
    [
        ("keras", "hf", "float32"),
        ("peft", "hf", "bfloat16"),
        ("keras", "peft", "float32"),
        ("peft", "peft", "float32"),
        ("keras", "gguf", "q8_0"),
        ("keras", "keras", "bfloat16"),
    ],
)
def test_the_export_of_gemma_is_the_live_model(trained, tmp_path, layout, to, dtype, backend):
    out = tmp_path / "model"
    proof = export_run(trained[layout], to, out, dtype=dtype, backend=backend).verification
    assert proof.faults == [] and proof.method == "logits and tensors"
    assert proof.tensors.wrong_values == 0 and proof.tensors.adapted == 126
    assert proof.tensors.recovered == pytest.approx(1, abs=0.01)
    assert proof.comparison.mean_distance_from_base > 3 * proof.comparison.mean_difference
    assert proof.probes["past_window"]
    if proof.tokenizer:
        assert proof.tokenizer["equal"] == 12
    if dtype == "float32":
        assert proof.comparison.largest_difference < 1e-3
        assert proof.greedy["equal"] == proof.greedy["prompts"]


def test_a_shared_rank_is_within_its_own_bound(trained, tmp_path, backend):
    out = tmp_path / "model"
    proof = export_run(trained["keras"], "peft", out, share_rank=0, backend=backend).verification
    assert proof.faults == [] and proof.tensors.wrong_values == 0
    assert verify_run(trained["keras"], out, backend=backend).status == "passed"
