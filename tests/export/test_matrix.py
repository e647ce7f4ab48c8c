"""Every family × base dtype × format is the trained model; the page shows what was measured."""

from __future__ import annotations

import json

import pytest

from tests.export.matrix import CASES, FILE, TITLES, formats, tiny_cells

IN_EVERY_RUN = {
    ("gemma", "bfloat16, from int8"),
    ("gemma2", "bfloat16"),
    ("gemma3", "bfloat16, from Q8_0"),
    ("llama3", "float32"),
}
"""Each family and each base once, on JAX two of them; the others with --slow."""

ON_JAX = {("gemma2", "bfloat16"), ("llama3", "float32")}


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("family", "base"),
    [pytest.param(*case, marks=() if case in IN_EVERY_RUN else pytest.mark.slow) for case in CASES],
)
def test_every_format_is_the_trained_model(tmp_path, family, base, backend, request):
    if backend == "jax" and (family, base) not in ON_JAX and not request.config.getoption("--slow"):
        pytest.skip("takes a minute on JAX; give --slow")
    cells = list(tiny_cells(family, base, tmp_path, backend))
    assert [(cell["format"], cell["dtype"]) for cell in cells] == list(
        formats(base.partition(",")[0])
    )
    for cell in cells:
        assert (cell["status"], cell["faults"]) == ("passed", []), cell
        rounds = cell["dtype"] != "float32"
        assert (cell["largest_difference"] > 1e-4) == rounds, cell


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_page_has_every_cell(backend):
    measured = json.loads(FILE.read_text("utf-8"))["cells"]
    found = {
        (cell["model"], cell["base_dtype"], cell["format"], cell["dtype"])
        for cell in measured
        if cell["backend"] == backend and cell["status"] == "passed"
    }
    expected = {
        (f"tiny {TITLES[family]}", base, form, dtype)
        for family, base in CASES
        for form, dtype in formats(base.partition(",")[0])
    }
    assert expected <= found
