"""Loss on held-out rows between two steps."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kerasft.data.batching import Window, WindowSource
from kerasft.engine.hooks import Hooks, Tuner
from kerasft.engine.metrics_log import MetricsLog
from kerasft.engine.progress import Progress


class Validation(Hooks):
    """Loss on the held-out rows; keeps the best adapter and may stop the run.

    Args:
        finetuner: what is validated.
        source: windows of the held-out rows.
        progress: has the best loss so far.
        log: whose clock pauses meanwhile.
        every: optimizer steps between validations; 0 for the end of each epoch.
        patience: validations without a better loss before the run stops; 0 never stops.
        results: `step`, `loss` and `accuracy` of each validation so far; added to here.
        last_step: optimizer steps of the whole run.
        stop_asked: whether the run should end; a validation is then broken off, and owed.
        on_best: called when the loss is the lowest so far.
        on_result: called with step and result.
        read: what `finetuner` takes of a window.

    Attributes:
        seconds: the longest that one took.
    """

    def __init__(
        self,
        finetuner: Tuner,
        source: WindowSource,
        progress: Progress,
        log: MetricsLog,
        *,
        every: int,
        patience: int,
        results: list[dict[str, float]],
        last_step: int,
        stop_asked: Callable[[], bool],
        on_best: Callable[[], None],
        on_result: Callable[[int, Mapping[str, float]], None],
        read: Callable[[Window], Any],
    ) -> None:
        self.results = results
        self._finetuner = finetuner
        self._source = source
        self._progress = progress
        self._log = log
        self._every = every
        self._patience = patience
        self._last_step = last_step
        self._stop_asked = stop_asked
        self.seconds = 0.0
        self._on_best = on_best
        self._on_result = on_result
        self._read = read

    def make_up(self) -> None:
        """Do the validation that was broken off where this run was stopped."""
        if self._progress.validation_owed:
            self._validate()

    @property
    def stopped_early(self) -> bool:
        """Whether patience is at its end."""
        return bool(self._patience) and self._progress.worse >= self._patience

    def begin(self) -> None:
        """Measure the base, before the first step."""
        if not self.results:
            self._validate(start=True)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._every and self._progress.step % self._every == 0:
            self._validate()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # A validation where a run happens to be interrupted would make it another run.
        interrupted = self._progress.window > 0 and self._progress.step < self._last_step
        measured = self.results[-1]["step"] == self._progress.step
        if not measured and not (interrupted and self._stop_asked()):
            self._validate()
        if logs is not None:
            logs["val_loss"] = self.results[-1]["loss"]
            logs["val_accuracy"] = self.results[-1]["accuracy"]

    def _validate(self, start: bool = False) -> None:
        # A loss that is not finite ends the run before its adapter could pass for the best.
        self._log.flush()
        began = time.monotonic()
        self._finetuner.sync()
        try:
            result = self._finetuner.validate(self._windows(start))
        except _BrokenOffError:
            self._progress.validation_owed = True
            self._log.pause(time.monotonic() - began)
            return
        self._progress.validation_owed = False
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.results.append({"step": self._progress.step, **result})
        self._on_result(self._progress.step, result)
        best = self._progress.best_loss
        # The untouched base is measured, but it is no candidate for the best adapter.
        if not start:
            if best is None or result["loss"] < best:
                self._progress.best_loss = result["loss"]
                self._progress.best_step = self._progress.step
                self._progress.worse = 0
                self._on_best()
            else:
                self._progress.worse += 1
                if self.stopped_early:
                    self._finetuner.stop_training = True
        self._log.pause(time.monotonic() - began)

    def _windows(self, start: bool) -> Iterator[Any]:
        for index in range(self._source.steps_per_epoch):
            # At the start nothing is saved yet, so there is nothing to come back to.
            if not start and self._stop_asked():
                raise _BrokenOffError
            yield self._read(self._source.window(0, index))


class _BrokenOffError(Exception):
    """The run should end before this validation does."""
