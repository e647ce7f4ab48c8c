"""A run that was stopped, killed or set back ends as the one that was never touched."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kerasft
from kerasft.console import SilentReporter
from kerasft.errors import RunError
from kerasft.models import adapter as adapters
from kerasft.models import sources
from kerasft.recipe import Recipe
from kerasft.runs import RunFolder
from tests.small import say_rows, small_recipe, write_rows

pytestmark = pytest.mark.keras

EPOCH = 3
"""Optimizer steps of an epoch here: two windows of two packed rows, and half a one."""

CLOCK = {"tokens_per_second", "peak_memory_bytes", "seconds", "input_wait_share"}
"""What may differ between two runs that are the same."""


def recipe_of(folder: Path) -> Recipe:
    """Packing, dropout, accumulation, validation at each epoch's end, a checkpoint there too."""
    folder.mkdir(exist_ok=True)
    return small_recipe(
        write_rows(folder / "rows.jsonl", say_rows(18)),
        lora__dropout=0.2,
        data__validation=3,
        train__packing=True,
        train__batch_size=1,
        train__sequence_length=128,
        train__gradient_accumulation=2,
        train__epochs=3,
        train__schedule="cosine",
        train__warmup=2,
        train__checkpoint_every=EPOCH,
        train__keep_checkpoints=5,
    )


def at_step(step: int, action) -> object:
    """Callbacks that act once after a step."""

    def callbacks():
        import keras

        class Act(keras.callbacks.Callback):
            done = 0

            def on_train_batch_end(self, batch, logs=None):
                self.done += 1
                if self.done == step:
                    action()

        return [Act()]

    return callbacks


def send(number: int):
    return lambda: os.kill(os.getpid(), number)


def outcome(run: RunFolder) -> dict:
    """All of a run that its data, recipe and seeds decide."""
    record = run.record()
    return {
        "adapter": {
            name: array.tobytes() for name, array in adapters.read_tensors(run.adapter).items()
        },
        "step of the adapter": adapters.read_info(run.adapter).step,
        "metrics": [
            {key: value for key, value in line.items() if key not in CLOCK}
            for line in run.metrics()
        ],
        **{
            key: record[key]
            for key in ("status", "steps", "tokens", "supervised_tokens", "validation", "samples")
        },
    }


def copied(run: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(run.path, to)
    return RunFolder.open(to)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def recipe(home) -> Recipe:
    return recipe_of(home)


@pytest.fixture(scope="module")
def whole(home, recipe, backend) -> RunFolder:
    """Never interrupted."""
    return kerasft.train(recipe, backend=backend, out=home / "whole").run


@pytest.fixture(scope="module")
def stopped(home, recipe, backend) -> RunFolder:
    """Stopped by SIGTERM after step 5, inside the second epoch."""
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    result = kerasft.train(
        recipe, backend=backend, out=home / "stopped", callbacks=at_step(5, send(signal.SIGTERM))
    )
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == former
    assert result.status == "stopped" and "--resume" in result.why
    return result.run


class Notes(SilentReporter):
    """Keeps the sentences."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_stopped_run_has_saved_its_step_and_no_validation_of_its_own(stopped):
    record = stopped.record()
    assert (record["status"], record["steps"], record["planned_steps"]) == ("stopped", 5, 9)
    names = sorted(path.name for path in stopped.checkpoints.iterdir())
    assert names == ["step-000003", "step-000005"]
    assert [each["step"] for each in record["validation"]["all"]] == [0, 3]
    assert [line["step"] for line in stopped.metrics()] == [1, 2, 3, 4, 5]
    assert adapters.read_info(stopped.adapter).step == 3


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(home, stopped, whole):
    run = copied(stopped, home / "resumed")
    result = kerasft.resume(run.path)
    assert result.status == "finished"
    assert outcome(run) == outcome(whole)


def test_two_interruptions_are_as_good_as_none(home, stopped, whole):
    run = copied(stopped, home / "twice")
    result = kerasft.resume(run.path, callbacks=at_step(2, send(signal.SIGINT)))
    assert (result.status, result.record["steps"]) == ("stopped", 7)
    assert kerasft.resume(run.path).status == "finished"
    assert outcome(run) == outcome(whole)


def test_a_checkpoint_without_its_manifest_is_passed_over(home, stopped, whole):
    run = copied(stopped, home / "older")
    (run.checkpoints / "step-000005" / "manifest.json").unlink()
    reporter = Notes()
    assert kerasft.resume(run.path, reporter=reporter).status == "finished"
    told = iter(reporter.notes)
    # In this order, whatever else is said between them.
    assert "step-000005 was never finished and is ignored" in told
    assert "going on after step 3" in told
    assert outcome(run) == outcome(whole)


def test_a_run_without_a_whole_checkpoint_is_refused(home, stopped):
    run = copied(stopped, home / "none")
    for path in run.checkpoints.iterdir():
        (path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match="no complete checkpoint to go on from"):
        kerasft.resume(run.path)


def test_changed_data_and_settings_are_refused_with_their_names(
    home, stopped, backend, monkeypatch
):
    def load_base(*args, **named):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(sources, "load_base", load_base)
    run = copied(stopped, home / "changed")
    rows = write_rows(home / "other.jsonl", [*say_rows(17), *say_rows(19)[18:]])
    text = run.recipe_file.read_text("utf-8")
    text = text.replace("rows.jsonl", rows.name).replace("batch_size = 1\n", "batch_size = 2\n")
    text = text.replace("packing = true", "packing = false")
    run.recipe_file.write_text(text.replace("rank = 4", "rank = 2"), "utf-8")
    with pytest.raises(RunError) as caught:
        kerasft.resume(run.path)
    message = str(caught.value)
    assert "cannot go on: its data changed (5)" in message
    assert "batch_size was 1, it is 2" in message and "packing was True, it is False" in message
    for field in ("data was 'sha256:", "tokens was", "lora was"):
        assert field in message


def test_a_finished_run_is_refused(whole):
    with pytest.raises(RunError, match="is finished; `kerasft eval"):
        kerasft.resume(whole.path)


def test_the_second_signal_ends_at_once(home, recipe, backend):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        kerasft.train(
            recipe,
            backend=backend,
            out=home / "at-once",
            callbacks=at_step(4, twice),
            **{"eval.samples": 0},
        )
    run = RunFolder.open(home / "at-once")
    record = run.record()
    assert (record["status"], record["why"]) == ("stopped", "interrupted twice")
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000003"]
    assert signal.getsignal(signal.SIGINT) is former


KILLED = """
import signal, sys
import kerasft
from tests.test_resume import at_step, send
backend, recipe, out, step = sys.argv[1:]
kerasft.train(
    recipe, backend=backend, out=out, callbacks=at_step(int(step), send(signal.SIGKILL))
)
"""


def test_a_killed_run_goes_on(home, whole, backend):
    """Killed after the last step of an epoch, before its validation."""
    out = home / "killed"
    arguments = [backend, str(whole.recipe_file), str(out), str(2 * EPOCH)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = RunFolder.open(out)
    assert run.record()["status"] == "running"
    # What a kill in the middle of writing leaves behind is no obstacle.
    (run.checkpoints / ".step-000006.tmp").mkdir()
    with run.metrics_file.open("a") as file:
        file.write('{"step": 6, "lo')
    assert kerasft.resume(out).status == "finished"
    assert outcome(run) == outcome(whole)
