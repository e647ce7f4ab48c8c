"""On a GPU, with `train.deterministic`, a resumed run is the uninterrupted one bit for bit."""

import os
import signal
from pathlib import Path

import pytest

import kerasft
from tests.small import say_rows, small_recipe, write_rows
from tests.test_resume import at_step, outcome, send

pytestmark = [pytest.mark.keras, pytest.mark.gpu]


@pytest.fixture
def restored(monkeypatch):
    """What `train.deterministic` sets for a process ends with the test."""
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    yield
    if "torch" in os.environ["KERAS_BACKEND"]:
        import torch

        torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("restored")
def test_stopped_and_resumed_on_a_gpu(tmp_path: Path, backend: str) -> None:
    """Compiled, with CUDA graphs and FlashAttention where the card has them."""
    recipe = small_recipe(
        write_rows(tmp_path / "rows.jsonl", say_rows(24)),
        model__dtype="auto",
        lora__dropout=0.2,
        data__validation=3,
        train__packing=True,
        train__batch_size=1,
        train__sequence_length=128,
        train__gradient_accumulation=2,
        train__epochs=8,
        train__max_steps=30,
        train__compile="on",
        train__deterministic=True,
    )
    whole = kerasft.train(recipe, backend=backend, out=tmp_path / "whole").run
    stop = at_step(11, send(signal.SIGTERM))
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run", callbacks=stop)
    assert (result.status, result.record["steps"]) == ("stopped", 11)
    assert kerasft.resume(result.run.path).status == "finished"
    assert outcome(result.run) == outcome(whole)
