"""The examples run as they stand, on the tiny model."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.small import TINY

pytestmark = pytest.mark.keras

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_tune_tiny(tmp_path, backend, capsys, request):
    if backend == "jax" and not request.config.getoption("--slow"):
        pytest.skip("JAX compiles each shape of the export's proof for minutes; give --slow")
    spec = importlib.util.spec_from_file_location("tune_tiny", EXAMPLES / "tune_tiny.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    answer = example.main(
        str(TINY),
        tmp_path,
        backend,
        **{
            "model.dtype": "float32",
            "data.limit": 40,
            "data.validation": 4,
            "train.max_steps": 3,
            "train.batch_size": 2,
            "train.sequence_length": 512,
            "eval.samples": 0,
        },
    )
    printed = capsys.readouterr().out
    assert printed.count("step ") == 3 and "validation loss" in printed
    assert f"How many orders are there? {answer}" in printed
    assert (tmp_path / "run" / "plots" / "loss.png").is_file()
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "gemma3_text"
    assert "loads in transformers: passed" in printed
