"""The learning rate at each optimizer step."""

import math
from typing import Any

import keras

from kerasft.recipe import TrainSettings


def warmup_steps(settings: TrainSettings, total_steps: int) -> int:
    """Steps of the warm-up: a value below 1 is a share of all steps."""
    warmup = settings.warmup
    return math.ceil(warmup * total_steps) if warmup < 1 else int(warmup)


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, linear or cosine to zero at the end.

    Step s (from 0) of W warm-up and N total steps has the rate

        peak · (s + 1) / W                            while s < W,
        peak · 1, (1 − p) or ½(1 + cos πp) afterwards, p = (s − W) / (N − W).

    Args:
        settings: `learning_rate`, `schedule` and `warmup`.
        total_steps: N, the optimizer steps of the whole run.
    """

    def __init__(self, settings: TrainSettings, total_steps: int) -> None:
        self.peak = settings.learning_rate
        self.kind = settings.schedule
        self.warmup = warmup_steps(settings, total_steps)
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        progress = ops.clip((step - self.warmup) / max(self.total_steps - self.warmup, 1), 0.0, 1.0)
        falling = {
            "constant": ops.ones_like(progress),
            "linear": 1 - progress,
            "cosine": 0.5 * (1 + ops.cos(math.pi * progress)),
        }[self.kind]
        return self.peak * ops.where(step < self.warmup, rising, falling)
