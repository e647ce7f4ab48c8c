"""What `fit` is given: the windows of an epoch, and what it calls between two of them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasft.data.batching import Window, WindowSource
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.hooks import Hooks
from kerasft.engine.prefetch import Prefetch
from kerasft.engine.progress import Progress


class EpochWindows(keras.utils.PyDataset):
    """The windows of one epoch from a position on, as `fit` takes them, made ahead of it.

    Args:
        finetuner: whose `input_seconds` grow by what `fit` waits here.
        source: the run's windows.
        progress: where to start.
        last_step: optimizer steps of the whole run.
    """

    def __init__(
        self, finetuner: FineTuner, source: WindowSource, progress: Progress, last_step: int
    ) -> None:
        super().__init__()
        self._finetuner = finetuner
        epoch, offset = progress.epoch, progress.window
        self._length = min(source.steps_per_epoch - offset, last_step - progress.step)
        self._windows = Prefetch(
            lambda index: arrays(source.window(epoch, offset + index)), self._length
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]:
        began = time.monotonic()
        window = self._windows[index]
        self._finetuner.input_seconds += time.monotonic() - began
        return self._finetuner.feed(window)

    def close(self) -> None:
        """Make no more windows."""
        self._windows.close()


def arrays(window: Window) -> dict[str, np.ndarray]:
    """The part of a window that goes to the device."""
    return {
        "token_ids": window.token_ids,
        "segment_ids": window.segment_ids,
        "position_ids": window.position_ids,
        "sequence_starts": window.sequence_starts,
        "gather_indices": window.gather_indices,
        "targets": window.targets,
        "weights": window.weights,
        "dropout_seeds": window.dropout_seeds,
    }


class RunCallbacks(keras.callbacks.CallbackList):
    """One list for all epochs: `on_train_begin` and `on_train_end` come once a run.

    `fit` is called once an epoch, because it takes the number of batches once a call,
    and the first epoch after a resume is shorter than the others.

    Args:
        callbacks: Keras callbacks, and `Hooks` among them.
        arguments: as for `keras.callbacks.CallbackList`.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback | Hooks], **arguments: Any
    ) -> None:
        made = [_Hooked(each) if isinstance(each, Hooks) else each for each in callbacks]
        super().__init__(made, add_history=True, **arguments)
        self._begun = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Waits for `finish`."""

    def finish(self) -> None:
        if self._begun:
            super().on_train_end()


class _Hooked(keras.callbacks.Callback):
    """Passes on what Keras calls."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__()
        self._hooks = hooks

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._hooks.on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._hooks.on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._hooks.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._hooks.on_epoch_end(epoch, logs)
