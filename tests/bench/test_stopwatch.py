"""Which steps are counted, and when the device is waited for."""

import pytest

from kerasft.bench.stopwatch import Counts, Plan, Stopwatch


class Device:
    """A clock that moves as work is given and done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queued = 0.0
        self.waits = 0

    def work(self, seconds: float) -> None:
        self.now += 0.1  # giving it takes this long
        self.queued += seconds

    def synchronise(self) -> None:
        self.waits += 1
        self.now += self.queued
        self.queued = 0.0


def timed(plan: Plan, seconds: list[float]) -> tuple[Stopwatch, Device]:
    device = Device()
    watch = Stopwatch(plan, device.synchronise, clock=lambda: device.now)
    watch.start()
    for each in seconds:
        device.work(each)
        watch.step(Counts(rows=2, tokens=10, supervised_tokens=4))
    return watch, device


def test_every_phase_is_timed_by_itself() -> None:
    watch, device = timed(Plan(2, 3, 3), [50, 9, 9, 1, 2, 3, 4, 5, 9])
    result = watch.result()
    assert result["first_step_seconds"] == pytest.approx(50.1)
    assert result["free_seconds"] == pytest.approx(6.3)
    assert result["mean_step_seconds"] == pytest.approx(2.1)
    assert result["median_step_seconds"] == pytest.approx(5.1)
    assert result["rows_per_second"] == pytest.approx(6 / 6.3)
    assert result["tokens_per_second"] == pytest.approx(30 / 6.3)
    assert result["supervised_tokens_per_second"] == pytest.approx(12 / 6.3)
    # The first step, the warm-up's end, the free steps' end, and each synchronised one.
    assert device.waits == 1 + 1 + 1 + 3
    assert watch.total_seconds == pytest.approx(device.now)


def test_without_warmup_the_free_steps_begin_after_the_first() -> None:
    watch, _ = timed(Plan(0, 2, 1), [5, 1, 1, 7])
    assert watch.free_seconds == pytest.approx(2.2)
    assert watch.seconds == [pytest.approx(7.1)]


def test_steps_beyond_the_plan_are_left_out() -> None:
    watch, _ = timed(Plan(0, 1, 1), [5, 1, 1, 100])
    assert watch.result()["median_step_seconds"] == pytest.approx(1.1)
