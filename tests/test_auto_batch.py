"""Out of memory in a run: what is left of it, and starting again with a smaller batch."""

import numpy as np
import pytest

import kerasft
from kerasft import auto_batch
from kerasft.console import SilentReporter
from kerasft.engine import checkpoint
from kerasft.engine.finetuner import FineTuner
from kerasft.errors import OutOfMemory
from kerasft.models import adapter as adapters
from kerasft.recipe import override
from kerasft.runs import RunFolder
from tests.small import say_rows, small_recipe, write_rows

pytestmark = pytest.mark.keras

FITS = 2
"""Rows at once that the patched step has memory for."""


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def allocate_too_much(backend: str) -> None:
    """A real failure of the backend's allocator."""
    if backend == "torch":
        import torch

        torch.empty(2**52, dtype=torch.uint8)
    else:
        import jax.numpy as jnp

        jnp.zeros(2**52, jnp.uint8).block_until_ready()


@pytest.fixture
def little_memory(monkeypatch, backend):
    """From a step on, micro-batches of more than `FITS` rows do not fit; gives a setter of it."""
    begins_at = {"step": 3}
    name = "_forward_backward" if backend == "torch" else "_call"
    original = getattr(FineTuner, name)
    seen = {"steps": 0}

    def spoilt(self, *arguments, **named):
        if backend == "torch":
            rows, is_step = arguments[0]["token_ids"].shape[0], True
        else:
            rows, is_step = arguments[2]["token_ids"].shape[1], arguments[0] == "step"
        if is_step and rows > FITS:
            seen["steps"] += 1
            if seen["steps"] >= begins_at["step"]:
                allocate_too_much(backend)
        return original(self, *arguments, **named)

    monkeypatch.setattr(FineTuner, name, spoilt)
    return begins_at


@pytest.fixture
def recipe(tmp_path):
    return small_recipe(
        write_rows(tmp_path / "rows.jsonl", say_rows(18)),
        train__batch_size=4,
        lora__dropout=0.1,
        data__validation=0,
    )


@pytest.fixture
def held_out(recipe):
    """The same with validation and an answer."""
    return override(recipe, {"data.validation": 2, "eval.samples": 1})


def weights(run: RunFolder) -> dict[str, np.ndarray]:
    return adapters.read_tensors(run.adapter)


def test_the_run_is_the_one_that_the_smaller_batch_gives(recipe, tmp_path, backend, little_memory):
    notes = Notes()
    found = kerasft.train(
        recipe, backend=backend, out=tmp_path / "auto", reporter=notes, auto_batch=True
    )
    smaller = override(recipe, {"train.batch_size": FITS, "train.gradient_accumulation": 2})
    expected = kerasft.train(smaller, backend=backend, out=tmp_path / "smaller")
    said = [note for note in notes.heard if "starting again" in note]
    assert [note.partition("with ")[2] for note in said] == [
        "train.batch_size = 2, train.gradient_accumulation = 2"
    ]
    assert found.run.recipe() == expected.run.recipe() == smaller
    assert found.status == "finished" and found.record["why"] == ""
    assert (found.record["attempts"], expected.record["attempts"]) == (2, 1)
    for name, value in weights(expected.run).items():
        np.testing.assert_array_equal(weights(found.run)[name], value)
    kept = [
        [{key: line[key] for key in ("step", "loss", "gradient_norm")} for line in run.metrics()]
        for run in (found.run, expected.run)
    ]
    assert kept[0] == kept[1] and kept[0][0]["step"] == 1
    assert sorted(path.name for path in found.run.checkpoints.iterdir()) == sorted(
        path.name for path in expected.run.checkpoints.iterdir()
    )


def test_without_it_the_run_fails_with_a_sentence_and_two_settings(
    recipe, tmp_path, backend, little_memory
):
    little_memory["step"] = 1
    with pytest.raises(OutOfMemory) as caught:
        kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    said = str(caught.value)
    assert said.startswith("out of memory while training on 4 × ") and "\n" not in said
    assert "train.batch_size=2 --set train.gradient_accumulation=2" in said
    assert ("train.remat=block" in said) == (backend == "torch")  # XLA on a CPU saves nothing
    record = RunFolder.open(tmp_path / "run").record()
    assert record["status"] == "failed" and record["why"] == said


@pytest.mark.once
def test_the_peak_of_an_attempt_that_did_not_fit_is_forgotten(monkeypatch):
    import torch

    done = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: done.append(name))
    auto_batch._release()
    assert "reset_peak_memory_stats" in done


@pytest.mark.once
def test_a_run_with_a_checkpoint_is_not_thrown_away(recipe, tmp_path, backend, little_memory):
    """It ends; the checkpoint stays whole."""
    apart = override(recipe, {"train.checkpoint_every": 1})
    with pytest.raises(OutOfMemory):
        kerasft.train(apart, backend=backend, out=tmp_path / "run", auto_batch=True)
    run = RunFolder.open(tmp_path / "run")
    found, notes = checkpoint.latest(run.checkpoints)
    assert found.step == 2 and notes == [] and run.recipe() == apart
    assert [line["step"] for line in run.metrics()] == [1, 2]


@pytest.mark.once
def test_answers_that_do_not_fit_are_no_matter_of_the_batch(
    held_out, tmp_path, backend, monkeypatch
):
    tried = []

    def full(*_, **__):
        tried.append(1)
        allocate_too_much(backend)

    monkeypatch.setattr("kerasft.engine.decode.Decoder.generate", full)
    with pytest.raises(OutOfMemory, match=r"answering 1 held-out rows.*max_new_tokens=4"):
        kerasft.train(held_out, backend=backend, out=tmp_path / "run", auto_batch=True)
    assert tried == [1]


@pytest.mark.once
def test_a_validation_that_does_not_fit_is_told_like_a_step(
    held_out, tmp_path, backend, monkeypatch
):
    def full(*_, **__):
        allocate_too_much(backend)

    monkeypatch.setattr(FineTuner, "validation_sums", full)
    with pytest.raises(OutOfMemory, match=r"--set train\.batch_size=2"):
        kerasft.train(held_out, backend=backend, out=tmp_path / "run")


@pytest.mark.once
def test_one_row_that_does_not_fit_ends_it(recipe, tmp_path, backend, monkeypatch, little_memory):
    monkeypatch.setattr("tests.test_auto_batch.FITS", 0)
    little_memory["step"] = 1
    recipe = override(recipe, {"train.batch_size": 2})
    notes = Notes()
    left = {"torch": r"train\.remat=block", "jax": r"a smaller model\.preset"}[backend]
    with pytest.raises(OutOfMemory, match=left):
        kerasft.train(
            recipe, backend=backend, out=tmp_path / "run", reporter=notes, auto_batch=True
        )
    assert len([note for note in notes.heard if "starting again" in note]) == 1
    assert RunFolder.open(tmp_path / "run").recipe().train.batch_size == 1
