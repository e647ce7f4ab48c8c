"""The learning rate at each optimizer step, as a formula that every engine reads."""

import math
from typing import Any

import numpy as np

from kerasft.recipe import TrainSettings


def warmup_steps(settings: TrainSettings, total_steps: int) -> int:
    """Steps of the warm-up: a value below 1 is a share of all steps."""
    warmup = settings.warmup
    return math.ceil(warmup * total_steps) if warmup < 1 else int(warmup)


def rate_at(step: Any, settings: TrainSettings, total_steps: int, ops: Any = np) -> Any:
    """Linear warm-up, then constant, linear or cosine to zero at the end.

    Step s (from 0) of W warm-up and N total steps has the rate

        peak · (s + 1) / W                            while s < W,
        peak · 1, (1 − p) or ½(1 + cos πp) afterwards, p = (s − W) / (N − W).

    Args:
        step: s, a float32 number of `ops`.
        settings: `learning_rate`, `schedule` and `warmup`.
        total_steps: N, the optimizer steps of the whole run.
        ops: what computes it: NumPy, or `keras.ops` for a step that is traced.
    """
    warmup = warmup_steps(settings, total_steps)
    rising = (step + 1) / max(warmup, 1)
    progress = ops.clip((step - warmup) / max(total_steps - warmup, 1), 0.0, 1.0)
    falling = {
        "constant": ops.ones_like(progress),
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + ops.cos(math.pi * progress)),
    }[settings.schedule]
    return settings.learning_rate * ops.where(step < warmup, rising, falling)
