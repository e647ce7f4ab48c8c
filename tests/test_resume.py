"""A run that was stopped, killed or set back ends as the one that was never touched."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasft
from kerasft import budget, disk
from kerasft.console import SilentReporter
from kerasft.engine import checkpoint
from kerasft.errors import KerasftError, RunError
from kerasft.locking import RunLock
from kerasft.models import adapter as adapters
from kerasft.models import sources
from kerasft.recipe import Recipe
from kerasft.runs import RunFolder
from tests.small import intricate_recipe, say_rows, write_rows

pytestmark = pytest.mark.keras

EPOCH = 3
"""Optimizer steps of an epoch here: two windows of two packed rows, and half a one."""

CLOCK = {"tokens_per_second", "peak_memory_bytes", "seconds", "input_wait_share"}
"""What may differ between two runs that are the same."""


def recipe_of(folder: Path) -> Recipe:
    """Packing, dropout, accumulation, validation at each epoch's end, a checkpoint there too."""
    folder.mkdir(exist_ok=True)
    return intricate_recipe(
        write_rows(folder / "rows.jsonl", say_rows(18)),
        train__epochs=3,
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


def counter():
    """A callback that counts steps, over interruptions too."""
    import keras

    class Counter(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1

        def get_state(self):
            return {"steps": self.steps}

        def set_state(self, state):
            self.steps = state["steps"]

    return Counter()


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


def trained(run: RunFolder) -> dict:
    """The same without the answers, which cost more here than the steps."""
    return {key: value for key, value in outcome(run).items() if key != "samples"}


BARE = {"eval.samples": 0}
"""For runs that are compared by `trained`."""


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
    run, first, second = copied(stopped, home / "twice"), counter(), counter()
    result = kerasft.resume(run.path, callbacks=[first, *at_step(2, send(signal.SIGINT))()])
    assert (result.status, result.record["steps"]) == ("stopped", 7)
    assert kerasft.resume(run.path, callbacks=[second]).status == "finished"
    assert outcome(run) == outcome(whole)
    assert (first.steps, second.steps) == (2, 4)  # what it remembers goes on too


@pytest.mark.once
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


@pytest.mark.once
def test_a_run_without_a_whole_checkpoint_is_refused(home, stopped):
    run = copied(stopped, home / "none")
    for path in run.checkpoints.iterdir():
        (path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match="no complete checkpoint to go on from"):
        kerasft.resume(run.path)


@pytest.mark.once
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
    assert "cannot go on: what it trains on or how has changed (5)" in message
    assert "train.batch_size was 1, it is 2" in message
    assert (
        "train.packing was True, it is False" in message and "lora.rank was 4, it is 2" in message
    )
    for field in ("data was 'sha256:", "tokens was"):
        assert field in message


@pytest.mark.once
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


# Stopped by the clock


@pytest.mark.once
def test_a_time_budget_stops_saves_and_gives_way_to_the_rest(
    home, recipe, backend, whole, monkeypatch
):
    """The clock jumps after step 4: no step, validation and save would fit any more."""
    now = [0.0]
    monkeypatch.setattr(budget, "clock", lambda: now[0])

    def jump():
        now[0] += 3500

    out = home / "budget"
    settings = {"train.time_budget": "1h", **BARE}
    result = kerasft.train(recipe, backend=backend, out=out, callbacks=at_step(4, jump), **settings)
    assert (result.status, result.stopped_by, result.record["steps"]) == (
        "stopped",
        "time budget",
        4,
    )
    assert result.why == "the time budget of 1h is used up; go on with --resume"
    assert (result.record["stopped_by"], result.record["steps"]) == ("time budget", 4)
    assert checkpoint.latest(result.run.checkpoints)[0].step == 4
    # Each call has the whole budget; here nothing of it is used.
    result = kerasft.resume(out)
    assert (result.status, result.record["stopped_by"]) == ("finished", "")
    assert trained(result.run) == trained(whole)


@pytest.mark.once
def test_checkpoints_are_written_by_the_clock_too(home, recipe, backend, monkeypatch):
    """After step 2 ten minutes have passed; the steps' own checkpoint comes at 3."""
    now = [0.0]
    monkeypatch.setattr(budget, "clock", lambda: now[0])

    def minutes():
        now[0] += 600

    settings = {"train.max_steps": 3, "data.validation": 0, **BARE}
    result = kerasft.train(
        recipe, backend=backend, out=home / "clock", callbacks=at_step(2, minutes), **settings
    )
    names = sorted(path.name for path in result.run.checkpoints.iterdir())
    assert names == ["step-000002", "step-000003"]
    saving = result.record["saving"]
    assert saving["count"] == 3 and saving["bytes"] > 10_000  # 3 is saved at the end again


# Stopped by a signal, wherever it comes


def test_a_signal_while_the_base_is_loaded_stops_at_once_and_loses_nothing(
    home, recipe, backend, whole, monkeypatch
):
    load_base = sources.load_base

    def interrupted(*args, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return load_base(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(sources, "load_base", interrupted)
        result = kerasft.train(recipe, backend=backend, out=home / "loading", **BARE)
    assert (result.status, result.stopped_by) == ("stopped", "signal")
    assert "steps" not in result.record and not result.run.checkpoints.exists()
    reporter = Notes()
    assert kerasft.resume(result.run.path, reporter=reporter).status == "finished"
    assert "there is no checkpoint yet: starting with the first step" in reporter.notes
    assert trained(result.run) == trained(whole)


def test_signals_while_compiling_validating_and_saving_lose_nothing(
    home, recipe, backend, whole, monkeypatch
):
    """One after the other in one run, which is resumed each time."""
    from kerasft.engine.finetuner import FineTuner

    out = home / "signals"

    def before_the_first_step():
        import keras

        class Act(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                if batch == 0:
                    os.kill(os.getpid(), signal.SIGTERM)

        return [Act()]

    # The handler waits for the compiler; the step is done, saved, and the run stops.
    result = kerasft.train(
        recipe, backend=backend, out=out, callbacks=before_the_first_step, **BARE
    )
    assert (result.status, result.record["steps"]) == ("stopped", 1)

    validate = FineTuner.validate

    def interrupted(self, windows):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, windows)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuner, "validate", interrupted)
        result = kerasft.resume(out)
    assert (result.status, result.record["steps"]) == ("stopped", EPOCH)
    assert checkpoint.latest(result.run.checkpoints)[0].state["progress"]["validation_owed"]
    assert [each["step"] for each in result.record["validation"]["all"]] == [0]

    save, saves = checkpoint.save, []

    def signalled(*args, **named):
        if not saves:
            os.kill(os.getpid(), signal.SIGTERM)
        saves.append(args)
        return save(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", signalled)
        result = kerasft.resume(out)
    # Saved after step 6, in the background: the signal comes in that step or the next one.
    assert result.status == "stopped" and 2 * EPOCH <= result.record["steps"] <= 2 * EPOCH + 1
    assert kerasft.resume(out).status == "finished"
    assert trained(result.run) == trained(whole)


# Other faults


@pytest.mark.once
def test_a_disk_that_is_full_in_mid_run_leaves_the_older_checkpoint(
    home, recipe, backend, whole, monkeypatch
):
    import safetensors.numpy

    save_file = safetensors.numpy.save_file

    def full(tensors, path):
        if "step-000006" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    out = home / "full"
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.numpy, "save_file", full)
        with pytest.raises(RunError, match=r"step-000006 could not be written.*--resume"):
            kerasft.train(recipe, backend=backend, out=out, **BARE)
    run = RunFolder.open(out)
    record = run.record()
    assert record["status"] == "failed" and "No space left" in record["why"]
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000003"]
    assert kerasft.resume(out).status == "finished"
    assert trained(run) == trained(whole)


@pytest.mark.once
def test_a_second_process_is_refused(stopped):
    with (
        RunLock(stopped.path),
        pytest.raises(RunError, match=rf"in use by process {os.getpid()} on .* since"),
    ):
        kerasft.resume(stopped.path)


# What may change


@pytest.mark.once
def test_a_run_is_made_longer_and_says_where_its_schedule_ends(home, whole):
    run = copied(whole, home / "longer")
    reporter = Notes()
    settings = {"train.epochs": 4, "train.checkpoint_every": 2, "train.time_budget": "9h"}
    result = kerasft.resume(run.path, settings=settings, reporter=reporter)
    assert (result.status, result.record["steps"]) == ("finished", 4 * EPOCH)
    assert "train.epochs was 3, it is 4" in reporter.notes
    assert "train.time_budget was not set, it is '9h'" in reporter.notes
    assert any("ends with step 12, it was 9" in note for note in reporter.notes)
    assert run.recipe().train.epochs == 4
    rates = [line["learning_rate"] for line in run.metrics()]
    assert rates[8] < rates[9]  # the cosine of 9 steps was nearly at its end, that of 12 is not
    with pytest.raises(RunError, match="has done 12 steps, and now ends with step 5"):
        kerasft.resume(run.path, settings={"train.max_steps": 5})


@pytest.mark.once
def test_other_libraries_and_another_base_are_told(home, stopped, monkeypatch):
    run = copied(stopped, home / "surroundings")
    found = checkpoint.latest(run.checkpoints)[0]
    state = found.state
    state["surroundings"]["versions"]["keras"] = "3.0"
    checkpoint.save(run.checkpoints, 5, found.tensors, state, keep=5)
    reporter = Notes()
    kerasft.resume(run.path, reporter=reporter, callbacks=at_step(1, send(signal.SIGTERM)))
    assert any("keras 3.0 → 3." in note and "not bit for bit" in note for note in reporter.notes)

    found = checkpoint.latest(run.checkpoints)[0]
    checkpoint.save(run.checkpoints, 6, found.tensors, found.state | {"fingerprint": "x"}, keep=5)
    with pytest.raises(RunError, match="trained on a base with fingerprint x"):
        kerasft.resume(run.path)


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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.once
def test_a_disk_that_others_fill_is_a_sentence_and_no_loss(
    small_disk, recipe, backend, whole, monkeypatch
):
    ballast = small_disk / "ballast"

    def fill():
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    out = small_disk / "run"
    with pytest.raises(RunError, match="free disk, and the run needs about 67 MB"):
        kerasft.train(recipe, backend=backend, out=out, **BARE)
    assert not out.exists()
    monkeypatch.setattr(disk, "LEAST", 0)
    monkeypatch.setattr(disk, "_REST", 0)
    with pytest.raises(KerasftError, match="No space left"):
        kerasft.train(recipe, backend=backend, out=out, callbacks=at_step(4, fill), **BARE)
    run = RunFolder.open(out)
    assert checkpoint.latest(run.checkpoints)[0].step == EPOCH
    with pytest.raises(RunError, match=r"of free disk|No space left"):
        kerasft.resume(out)
    ballast.unlink()
    assert kerasft.resume(out).status == "finished"
    assert trained(run) == trained(whole)


ELSEWHERE = """
import sys
import kerasft
from tests.test_resume import BARE, at_step, send
import signal
backend, recipe, out = sys.argv[1:]
stop = at_step(4, send(signal.SIGTERM))
kerasft.train(recipe, backend=backend, out=out, callbacks=stop, **BARE)
"""


@pytest.mark.once
def test_a_run_goes_on_with_the_other_backend_within_a_tolerance(home, whole, backend):
    """The same rows, masks and rates, and sums in another order: 1e-3 of the largest entry."""
    other = "jax" if backend == "torch" else "torch"
    out = home / "elsewhere"
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, other, str(whole.recipe_file), str(out)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "KERAS_BACKEND": other},
        check=True,
        capture_output=True,
    )
    reporter = Notes()
    result = kerasft.resume(out, backend=backend, reporter=reporter)
    assert result.status == "finished" and result.record["steps"] == 9
    assert any(f"backend {other} → {backend}" in note for note in reporter.notes)
    expected = adapters.read_tensors(whole.adapter)
    found = adapters.read_tensors(result.run.adapter)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() <= 1e-3 * np.abs(array).max(), name
