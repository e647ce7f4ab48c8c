"""Losses that stand out, and those that only vary."""

import numpy as np
import pytest

from kerasft.engine.spikes import LEAST, WINDOW, SpikeWatch


def falling(count: int, noise: float = 0.05) -> list[float]:
    random = np.random.default_rng(0)
    return [2 * 0.995**n + noise * random.standard_normal() for n in range(count)]


def test_a_loss_far_above_those_before_is_one_and_its_median_is_told():
    watch = SpikeWatch()
    losses = falling(60)
    assert [watch.is_spike(loss) for loss in losses] == [None] * 60
    assert watch.is_spike(3.0) == pytest.approx(np.median(losses[-WINDOW:]))


def test_a_spike_or_two_do_not_hide_the_next_one():
    watch = SpikeWatch(falling(60))
    assert all(watch.is_spike(loss) for loss in (3.0, 9.0, 3.0))


def test_a_flat_loss_may_vary_by_a_tenth():
    watch = SpikeWatch([1.0] * WINDOW)
    assert watch.is_spike(1.09) is None and watch.is_spike(1.11) == 1.0


def test_the_first_losses_are_compared_with_nothing():
    watch = SpikeWatch([1.0] * (LEAST - 1))
    assert watch.is_spike(50.0) is None
    assert watch.is_spike(50.0) == 1.0


def test_a_resumed_watch_is_the_one_that_went_on():
    losses = [*falling(70), 3.0, *falling(70)]
    whole = SpikeWatch()
    found = [whole.is_spike(loss) for loss in losses]
    resumed = SpikeWatch(losses[:65])
    assert [resumed.is_spike(loss) for loss in losses[65:]] == found[65:]
