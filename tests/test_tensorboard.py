"""TensorBoard's event files: read back by their own format, and beside metrics.jsonl."""

import json
import math
import struct
import sys
from pathlib import Path

import pytest

from kerasft.console import SilentReporter
from kerasft.errors import KerasftError
from kerasft.runs import RunFolder
from kerasft.tensorboard import SCALARS, check_tensorboard, logged
from tests.report.made import made_recipe

pytest.importorskip("tensorboardX", reason="needs the extra `tensorboard`")


def events(folder: Path) -> list:
    """Events of all files of a run, in order (TFRecord: length, its sum, the message, its sum)."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            found.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += length + 16
    return found


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag to value by step, as TensorBoard shows them: a start drops the steps from its own on."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, dict[int, float]] = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            for steps in found.values():
                for step in [each for each in steps if each >= event.step]:
                    del steps[step]
        for value in event.summary.value:
            steps = found.setdefault(value.tag, {})
            assert event.step not in steps
            steps[event.step] = value.simple_value
    return found


def line(step: int, loss: float | None = None) -> dict[str, float | None]:
    return {
        "step": step,
        "loss": 1 / step if loss is None else loss,
        "accuracy": 0.5,
        "learning_rate": 1e-4,
        "gradient_norm": 2.0,
        "tokens": 100,
        "tokens_per_second": 50.0 * step,
        "peak_memory_bytes": 2**30,
    }


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", made_recipe(train__tensorboard=True), "sql")


def test_every_scalar_of_every_step_is_there(run):
    told = []

    class Teller(SilentReporter):
        def step(self, line):
            told.append(line["step"])

        def validated(self, step, result):
            told.append(("validated", step))

    with logged(run, run.recipe(), Teller(), 0) as reporter:
        reporter.validated(0, {"loss": 2.5, "accuracy": 0.1})
        for step in (1, 2, 3):
            reporter.step(line(step))
        reporter.step(line(4, loss=math.nan))
        reporter.note("others are told the reporter within")
    found = scalars(run.path / "tensorboard")
    assert set(found) == {f"train/{name}" for name in SCALARS} | {
        "validation/loss",
        "validation/accuracy",
    }
    assert found["train/loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert found["train/tokens_per_second"] == {1: 50, 2: 100, 3: 150, 4: 200}
    assert found["validation/loss"] == {0: 2.5}
    assert told == [("validated", 0), 1, 2, 3, 4]


def test_a_resumed_run_has_each_step_once(run):
    with logged(run, run.recipe(), SilentReporter(), 0) as reporter:
        for step in range(1, 8):
            reporter.step(line(step, loss=9.0))
    with logged(run, run.recipe(), SilentReporter(), 4) as reporter:
        for step in range(5, 11):
            reporter.step(line(step, loss=1.0))
    losses = scalars(run.path / "tensorboard")["train/loss"]
    assert losses == {**dict.fromkeys(range(1, 5), 9.0), **dict.fromkeys(range(5, 11), 1.0)}


def test_nothing_is_written_unasked(tmp_path):
    run = RunFolder.create(tmp_path / "run", made_recipe(), "sql")
    reporter = SilentReporter()
    with logged(run, run.recipe(), reporter, 0) as same:
        assert same is reporter
    assert not (run.path / "tensorboard").exists()


def test_without_the_package_it_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    import kerasft

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    check_tensorboard(made_recipe())
    recipe = made_recipe(train__tensorboard=True, data__source=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(KerasftError, match=r"pip install 'kerasft\[tensorboard\]'"):
        kerasft.train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Without the mark `keras`: what is written comes from the reporter, on any backend.
def test_a_training_says_the_same_in_both_files(tmp_path, backend):
    import kerasft
    from tests.small import say_rows, small_recipe, write_rows

    before = "tensorflow" in sys.modules  # by another test of this process
    source = write_rows(tmp_path / "rows.jsonl", say_rows(12))
    recipe = small_recipe(
        source, data__validation=2, train__max_steps=3, train__tensorboard=True, eval__samples=0
    )
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    kerasft.resume(result.run.path, settings={"train.max_steps": 5})
    found = scalars(result.run.path / "tensorboard")
    lines = result.run.metrics()
    assert len(lines) == 5
    for name in SCALARS:
        expected = {each["step"]: each[name] for each in lines}
        assert found[f"train/{name}"] == pytest.approx(expected, rel=1e-6)
    validations = json.loads(result.run.record_file.read_text())["validation"]["all"]
    assert found["validation/loss"] == pytest.approx(
        {each["step"]: each["loss"] for each in validations}, rel=1e-6
    )
    assert before or "tensorflow" not in sys.modules
