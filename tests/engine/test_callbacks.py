"""What is counted between steps, and where the windows come from."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from kerasft.data.batching import WindowSource
from kerasft.errors import RunError
from kerasft.recipe import TrainSettings

pytestmark = pytest.mark.keras


class Clock:
    """Seconds that only pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Numbers:
    """Stands in for a fine-tuner: gives the metrics of the steps that a test put in."""

    def __init__(self) -> None:
        self.input_seconds = 3.0  # of an earlier use, which is none of this run's
        self.latest: dict[str, float] = {}
        self.waiting: list[dict[str, float]] = []
        self.ready: list[dict[str, float]] = []

    def feed(self, window: dict[str, Any]) -> dict[str, Any]:
        return window

    def step(self, seconds: float, waited: float, clock: Clock, loss: float = 1.0) -> None:
        clock.now += seconds
        self.input_seconds += waited
        numbers = {"loss": loss, "accuracy": 0.5, "learning_rate": 0.1, "gradient_norm": 1.0}
        self.waiting.append(numbers)

    def flush(self) -> None:
        self.ready += self.waiting
        self.waiting = []

    def drain(self) -> list[dict[str, float]]:
        ready, self.ready = self.ready, []
        return ready


class Written:
    """Stands in for a run folder."""

    def __init__(self) -> None:
        self.lines: list[Mapping[str, Any]] = []

    def append_metrics(self, lines: list[Mapping[str, Any]]) -> None:
        self.lines += lines


@pytest.fixture
def source() -> WindowSource:
    from tests.engine.tuning import uneven_examples

    return WindowSource(uneven_examples(12), TrainSettings(batch_size=2, packing=False))


@pytest.fixture
def log(monkeypatch, source: WindowSource) -> Any:
    """A `MetricsLog` on a clock that stands still."""
    from kerasft.engine import metrics_log
    from kerasft.engine.progress import Progress

    clock = Clock()
    monkeypatch.setattr(metrics_log, "time", clock)
    made = metrics_log.MetricsLog(Numbers(), source, Written(), Progress(), lambda line: None)
    made.clock = clock
    return made


def steps(log: Any, *times: tuple[float, float], flush: bool = True) -> None:
    for batch, (seconds, waited) in enumerate(times):
        log.finetuner.step(seconds, waited, log.clock)
        if flush and batch == len(times) - 1:
            log.finetuner.flush()
        log.on_train_batch_end(batch)


def test_the_wait_is_a_share_of_the_lines_own_seconds(log) -> None:
    log.on_train_begin()
    log.on_epoch_begin(0)
    steps(log, (10.0, 5.0))
    steps(log, (1.0, 0.0), (3.0, 1.0))  # read back together
    steps(log, (2.0, 0.0))
    shares = [line["input_wait_share"] for line in log.run.lines]
    assert shares == pytest.approx([0.5, 0.25, 0.25, 0.0])
    assert [line["seconds"] for line in log.run.lines] == pytest.approx([10, 2, 2, 2])
    assert (log.progress.seconds, log.progress.input_seconds) == pytest.approx((16, 6))


def numbers(log: Any, *losses: float) -> None:
    """Steps of these losses, read back one by one."""
    for loss in losses:
        log.finetuner.step(1.0, 0.0, log.clock, loss)
        log.finetuner.flush()
        log.on_train_batch_end(0)
        if log.progress.window == log.source.steps_per_epoch:
            log.on_epoch_end(log.progress.epoch)


def rows_of_step(log: Any, step: int) -> list[int]:
    return log.source.rows_of(*divmod(step - 1, log.source.steps_per_epoch))


def test_a_spike_is_noted_with_its_rows(log) -> None:
    numbers(log, *[1.0] * 24, 2.0, 1.0)
    [spike] = log.incidents.spikes
    assert (spike["step"], spike["loss"], spike["median"]) == (25, 2.0, 1.0)
    assert spike["rows"] == rows_of_step(log, 25) and len(spike["rows"]) == 2


def test_what_is_not_finite_ends_the_run_and_names_the_rows(log) -> None:
    numbers(log, 1.0)
    rows = ", ".join(map(str, rows_of_step(log, 2)))
    with pytest.raises(RunError, match=rf"step 2: the loss is nan .* on rows {rows} of the tr"):
        numbers(log, float("nan"))


def test_updates_left_out_are_counted_and_ten_in_a_row_end_the_run(log) -> None:
    log._skips = True
    numbers(log, 1.0, float("nan"), 1.0, *[float("inf")] * 9)
    assert [each["step"] for each in log.incidents.skipped] == [2, *range(4, 13)]
    assert log.incidents.skipped[0]["rows"] == rows_of_step(log, 2)
    with pytest.raises(RunError, match="10 updates in a row were left out"):
        numbers(log, float("nan"))


def test_pauses_are_in_no_share(log) -> None:
    log.on_train_begin()
    log.on_epoch_begin(0)
    log.clock.now += 50  # a validation before the first step
    log.pause(50)
    steps(log, (4.0, 1.0))
    log.clock.now += 50
    log.pause(50)
    steps(log, (2.0, 1.0))
    assert [line["input_wait_share"] for line in log.run.lines] == pytest.approx([0.25, 0.5])
    assert log.first_step_seconds == pytest.approx(4)


def test_the_first_step_is_timed_from_the_start_and_once(log) -> None:
    assert log.first_step_seconds is None
    log.clock.now += 7  # before training
    log.on_train_begin()
    log.clock.now += 2  # before the epoch
    log.on_epoch_begin(0)
    steps(log, (5.0, 0.0))
    steps(log, (1.0, 0.0))
    assert log.first_step_seconds == pytest.approx(7)
    assert len(log.rates) == 2 and log.rates[0] < log.rates[1]


def test_an_epochs_windows_are_those_of_its_source_from_the_position_on(source) -> None:
    from kerasft.engine.callbacks import EpochWindows, arrays
    from kerasft.engine.progress import Progress

    windows = EpochWindows(Numbers(), source, Progress(step=9, epoch=1, window=3), 11)
    assert len(windows) == 2  # the run ends before the epoch
    for index in range(2):
        found, expected = windows[index], arrays(source.window(1, 3 + index))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, name)
    windows.close()


def test_fit_takes_every_window_once_in_order_from_the_thread(monkeypatch, source) -> None:
    """And a window that cannot be made ends `fit` with its own error."""
    from kerasft.engine.callbacks import EpochWindows
    from kerasft.engine.progress import Progress
    from tests.engine.tuning import small_tuner

    tuner = small_tuner()
    tuner.prepare(TrainSettings(), total_steps=6)
    made: list[tuple[int, bool]] = []
    window = source.window

    def watched(epoch: int, index: int) -> Any:
        made.append((index, threading.current_thread() is threading.main_thread()))
        return window(epoch, index)

    monkeypatch.setattr(source, "window", watched)
    windows = EpochWindows(tuner, source, Progress(window=2), last_step=100)
    waited = tuner.input_seconds
    tuner.fit(windows, verbose=0, shuffle=False)
    windows.close()
    tuner.flush()
    assert made == [(index, False) for index in range(2, 6)]
    assert len(tuner.drain()) == 4
    assert tuner.input_seconds > waited

    def broken(epoch: int, index: int) -> Any:
        if index == 4:
            raise ValueError("window 4 cannot be made")
        return window(epoch, index)

    monkeypatch.setattr(source, "window", broken)
    windows = EpochWindows(tuner, source, Progress(), last_step=100)
    with pytest.raises(ValueError, match="window 4 cannot be made"):
        tuner.fit(windows, verbose=0, shuffle=False)
    windows.close()
    tuner.flush()
    assert len(tuner.drain()) in (3, 4)  # JAX puts a window on a device one ahead
