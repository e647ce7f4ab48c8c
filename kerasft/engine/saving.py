"""When a run is saved, and by whom: the state is copied between two steps and written beside
the steps that follow, by a thread of its own."""

import copy
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kerasft import budget
from kerasft.engine import checkpoint
from kerasft.engine.hooks import Hooks, Tuner
from kerasft.engine.metrics_log import MetricsLog
from kerasft.engine.progress import Progress


class CheckpointWriter:
    """Writes checkpoints one after the other, in the order in which they are given.

    Args:
        folder: the run's `checkpoints/`.
        keep: complete checkpoints that stay.

    Attributes:
        saved: how many were written and read back.
        seconds: the longest that one took, from the copy to the end of its reading back.
        bytes: size of the last one.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._waiting: Future | None = None
        self.saved = 0
        self.seconds = 0.0
        self.bytes = 0

    def put(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Begin to write a checkpoint, once the one before is written.

        Args:
            step, tensors, state: as for `checkpoint.save`. They are copied here, so that
                the next step may change them.

        Raises:
            RunError: the one before could not be written.
        """
        copied = {name: np.array(value, order="C") for name, value in tensors.items()}
        state = copy.deepcopy(dict(state))
        self.wait()
        self._waiting = self._thread.submit(self._save, step, copied, state)

    def check(self) -> None:
        """Tell a failure as soon as there is one, without waiting.

        Raises:
            RunError: a checkpoint could not be written.
        """
        if self._waiting is not None and self._waiting.done():
            self.wait()

    def wait(self) -> None:
        """Until what was put is written and read back.

        Raises:
            RunError: it could not be written.
        """
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.result()

    def close(self) -> None:
        """Wait, and end the thread.

        Raises:
            RunError: the last one could not be written.
        """
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _save(self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping) -> None:
        began = time.monotonic()
        path = checkpoint.save(self._folder, step, tensors, state, keep=self._keep)
        self.saved += 1
        self.bytes = sum(file.stat().st_size for file in path.iterdir())
        self.seconds = max(self.seconds, time.monotonic() - began)


class Checkpoints(Hooks):
    """Saves every so many steps or minutes, and ends the run when it should end.

    A checkpoint that falls on the end of an epoch is written after its validation, which
    a resumed run would not do again.

    Args:
        finetuner: what is stopped.
        progress: the count of steps.
        log: whose clock pauses meanwhile.
        writer: asked after each step whether it has failed.
        every: optimizer steps between checkpoints; 0 for none by their count.
        minutes: after which one is due in any case; 0 for none by the clock.
        epoch_ends: whether this was the last step before `on_epoch_end`.
        save: copies the state and puts it to the writer.
        stop_asked: whether the run should end after this step.

    Attributes:
        seconds: how long steps have waited for saves.
        longest_step: seconds from one step's end to the next one's, at the most; what
            happens between steps is in it.
    """

    def __init__(
        self,
        finetuner: Tuner,
        progress: Progress,
        log: MetricsLog,
        writer: CheckpointWriter,
        *,
        every: int,
        minutes: float,
        epoch_ends: Callable[[], bool],
        save: Callable[[], None],
        stop_asked: Callable[[], bool],
    ) -> None:
        self.seconds = 0.0
        self.longest_step = 0.0
        self._finetuner = finetuner
        self._progress = progress
        self._log = log
        self._writer = writer
        self._every = every
        self._minutes = minutes
        self._epoch_ends = epoch_ends
        self._save = save
        self._stop_asked = stop_asked
        self._due = False
        self._saved_at = self._step_at = budget.clock()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._saved_at = self._step_at = budget.clock()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._writer.check()
        now = budget.clock()
        self.longest_step = max(self.longest_step, now - self._step_at)
        self._step_at = now
        if self._stop_asked():
            self._finetuner.stop_training = True
        elif self._is_due(now):
            self._due = True
            if not self._epoch_ends():
                self._write()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._due:
            self._write()

    def _is_due(self, now: float) -> bool:
        by_count = self._every and self._progress.step % self._every == 0
        by_clock = self._minutes and now - self._saved_at >= 60 * self._minutes
        return bool(by_count or by_clock)

    def _write(self) -> None:
        # The metrics go first: those that a checkpoint is ahead of would be lost with a kill.
        self._log.flush()
        began = time.monotonic()
        self._save()
        self._due = False
        self._saved_at = budget.clock()
        took = time.monotonic() - began
        self.seconds += took
        self._log.pause(took)
