"""The table of docs/export.md shows the worst that was measured, and every reason once."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CELL = {"model": "tiny Gemma 3", "base_dtype": "bfloat16", "format": "hf", "dtype": "float32"}


@pytest.fixture
def made(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_export

    yield make_export
    sys.modules.pop("make_export")


def test_a_cell_shows_the_worse_backend_of_each_number(made):
    torch = {"largest_difference": 2e-5, "logit_range": 8.0, "top1_agreement": 0.875}
    jax = {"largest_difference": 4e-5, "logit_range": 8.0, "top1_agreement": 1.0}
    table = made.matrix([CELL | torch | {"backend": "torch"}, CELL | jax | {"backend": "jax"}])
    assert table.splitlines()[0] == "| model | base in | hf float32 |"
    assert "| tiny Gemma 3 | bfloat16 | 4e-05 (5e-06 of the range), 88% |" in table


def test_a_cell_without_a_number_has_its_reason(made):
    reason = "Gemma 3 overflows in float16."
    numbers = {"largest_difference": 0.1, "logit_range": 8.0, "top1_agreement": 1.0}
    table = made.matrix(
        [
            CELL | {"dtype": "bfloat16"} | numbers,
            CELL | {"format": "keras", "dtype": "float16", "reason": reason},
            CELL | {"format": "gguf", "dtype": "float16", "reason": reason},
            CELL | {"model": "tiny Llama", "base_dtype": "float32, from Q8_0"} | numbers,
            CELL | {"model": "tiny Llama", "base_dtype": "float32", "format": "peft"} | numbers,
        ]
    )
    lines = table.splitlines()
    assert lines[0] == "| model | base in | hf | peft | gguf float16 | keras float16 |"
    assert lines[2].endswith("|  | (1) | (1) |") and lines[3].endswith("|  |  |  |")
    assert lines[4].startswith("| tiny Llama | float32 |  | 0.1 (")
    assert table.count(reason) == 1 and "\n1. Gemma 3" in table


def test_every_stored_type_has_its_bound_on_the_page(made):
    from kerasft.export.proof import BOUNDS

    rows = made.bounds().splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(BOUNDS)
    assert "≤ 0.001" in rows[0] and "≤ 10% of the range" in rows[1]
