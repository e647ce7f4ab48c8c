"""Learning rates, worked out by hand."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from kerasft.engine.rates import rate_at, warmup_steps
from kerasft.engine.schedule import WarmupSchedule
from kerasft.recipe import TrainSettings

pytestmark = pytest.mark.keras


def rates(total: int, **settings: object) -> list[float]:
    schedule = WarmupSchedule(TrainSettings(**settings), total)
    found = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(total)]
    # What the loops without Keras read is the same formula, computed by NumPy.
    plain = [float(rate_at(np.float32(step), schedule._settings, total)) for step in range(total)]
    np.testing.assert_allclose(plain, found, rtol=1e-6, atol=1e-7)
    return found


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(0.0, 10, 0), (0.03, 100, 3), (0.1, 15, 2), (1, 50, 1), (7, 50, 7)],
)
def test_warmup_is_a_share_or_a_count(warmup, total, steps):
    assert warmup_steps(TrainSettings(warmup=warmup), total) == steps


def test_linear():
    found = rates(6, learning_rate=1.0, schedule="linear", warmup=2)
    np.testing.assert_allclose(found, [0.5, 1, 1, 0.75, 0.5, 0.25], rtol=1e-6)


def test_cosine():
    found = rates(5, learning_rate=2.0, schedule="cosine", warmup=0.2)
    expected = [2.0] + [1 + math.cos(math.pi * step / 4) for step in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_constant():
    found = rates(5, learning_rate=3e-4, schedule="constant", warmup=3)
    np.testing.assert_allclose(found, [1e-4, 2e-4, 3e-4, 3e-4, 3e-4], rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 0.5), (1, 5), (40, 0), (40, 40)])
def test_every_step_of_a_run_has_a_rate(schedule, total, warmup):
    found = rates(total, learning_rate=1.0, schedule=schedule, warmup=warmup)
    assert all(0 < rate <= 1 for rate in found)


def test_past_the_end_the_rate_is_not_negative():
    schedule = WarmupSchedule(TrainSettings(schedule="linear"), 4)
    assert float(keras.ops.convert_to_numpy(schedule(9))) == 0
