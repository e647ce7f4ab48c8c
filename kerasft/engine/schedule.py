"""The learning rate as Keras' optimizers ask for it."""

from typing import Any

import keras

from kerasft.engine.rates import rate_at
from kerasft.recipe import TrainSettings


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """`rate_at` for a step that may be traced.

    Args:
        settings: `learning_rate`, `schedule` and `warmup`.
        total_steps: the optimizer steps of the whole run.
    """

    def __init__(self, settings: TrainSettings, total_steps: int) -> None:
        self._settings = settings
        self._total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        return rate_at(ops.cast(step, "float32"), self._settings, self._total_steps, ops)
