"""What happens between two optimizer steps: numbers, validation, checkpoints, the end.

Each is an ordinary Keras callback on a `FineTuner`. They count optimizer steps of the
whole run in one `Progress`, which a checkpoint carries.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from kerasft.data.batching import Window, WindowSource
from kerasft.engine.device import peak_memory_bytes
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.prefetch import Prefetch
from kerasft.errors import RunError
from kerasft.runs import RunFolder

STEP_METRICS = ("loss", "accuracy", "learning_rate", "gradient_norm")
"""What a step gives back, in the order of metrics.jsonl."""


@dataclass
class Progress:
    """Where a run is; everything in it goes into a checkpoint.

    Attributes:
        step: optimizer steps done.
        epoch, window: the next window: its epoch, and its index there.
        tokens, supervised_tokens: seen so far, padding left out.
        seconds: spent in steps.
        input_seconds: of these, spent waiting for the next window.
        best_loss, best_step: the lowest validation loss and where it was.
        worse: validations since then.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    input_seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)


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
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], **arguments: Any) -> None:
        super().__init__(list(callbacks), add_history=True, **arguments)
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


class MetricsLog(keras.callbacks.Callback):
    """Counts the steps and writes metrics.jsonl whenever numbers come back.

    Args:
        finetuner: whose numbers they are.
        source: the windows, for their counts.
        run: where they are written.
        progress: advanced here, and only here.
        on_line: called with each line after it is written.

    Attributes:
        rates: tokens a second of each line, the first step's among them.
        first_step_seconds: from the start of `fit` to the end of its first step, which
            compiles; None before that.
    """

    def __init__(
        self,
        finetuner: FineTuner,
        source: WindowSource,
        run: RunFolder,
        progress: Progress,
        on_line: Callable[[Mapping[str, Any]], None],
    ) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.first_step_seconds: float | None = None
        self.finetuner = finetuner
        self.source = source
        self.run = run
        self.progress = progress
        self._on_line = on_line
        self._waiting: list[tuple[int, int, int]] = []
        self._since = self._begun = time.monotonic()
        self._waited = finetuner.input_seconds

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.first_step_seconds is None:
            # The first step's numbers have been read back, so the device is done with it.
            self.first_step_seconds = time.monotonic() - self._begun
        counts = self.source.counts(self.progress.epoch, self.progress.window)
        self.progress.step += 1
        self.progress.window += 1
        self.progress.tokens += counts.tokens
        self.progress.supervised_tokens += counts.supervised_tokens
        self._waiting.append((self.progress.step, counts.tokens, counts.supervised_tokens))
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.flush()
        if self.progress.window >= self.source.steps_per_epoch:
            self.progress.epoch, self.progress.window = epoch + 1, 0
        if logs is not None:
            logs.update(self.finetuner.latest)

    def flush(self) -> None:
        """Write the numbers of every step so far.

        Raises:
            RunError: a loss or a gradient norm is not finite.
        """
        self.finetuner.flush()
        self._write()

    def pause(self, seconds: float) -> None:
        """Leave time that was not spent in steps out of the count."""
        self._since += seconds
        self._begun += seconds

    def _write(self) -> None:
        drained = self.finetuner.drain()
        if not drained:
            return
        now = time.monotonic()
        spent, waited = now - self._since, self.finetuner.input_seconds - self._waited
        each = spent / len(drained)
        self._since = now
        self._waited = self.finetuner.input_seconds
        self.progress.seconds += spent
        self.progress.input_seconds += waited
        memory = peak_memory_bytes()
        lines = []
        for metrics, (step, tokens, supervised) in zip(drained, self._waiting, strict=False):
            lines.append(
                {
                    "step": step,
                    **{name: metrics[name] for name in STEP_METRICS},
                    "tokens": tokens,
                    "supervised_tokens": supervised,
                    "tokens_per_second": tokens / each,
                    "peak_memory_bytes": memory,
                    "seconds": each,
                    "input_wait_share": waited / spent,
                }
            )
        self._waiting = self._waiting[len(drained) :]
        self.run.append_metrics(lines)
        for line in lines:
            self.rates.append(line["tokens_per_second"])
            self._on_line(line)
            if not (math.isfinite(line["loss"]) and math.isfinite(line["gradient_norm"])):
                raise RunError(
                    f"step {line['step']}: the loss is {line['loss']} and the gradient norm "
                    f"{line['gradient_norm']}. The last checkpoint is whole; lower "
                    "train.learning_rate, set train.clip_norm, or train in float32"
                )


class Validation(keras.callbacks.Callback):
    """Loss on the held-out rows; keeps the best adapter and may stop the run.

    Args:
        finetuner: what is validated.
        source: windows of the held-out rows.
        progress: has the best loss so far.
        log: whose clock pauses meanwhile.
        every: optimizer steps between validations; 0 for the end of each epoch.
        patience: validations without a better loss before the run stops; 0 never stops.
        results: `step`, `loss` and `accuracy` of each validation so far; added to here.
        broken_off: whether the epoch that ends was left in its middle, to be resumed.
        on_best: called when the loss is the lowest so far.
        on_result: called with step and result.
    """

    def __init__(
        self,
        finetuner: FineTuner,
        source: WindowSource,
        progress: Progress,
        log: MetricsLog,
        *,
        every: int,
        patience: int,
        results: list[dict[str, float]],
        broken_off: Callable[[], bool],
        on_best: Callable[[], None],
        on_result: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        super().__init__()
        self.results = results
        self._finetuner = finetuner
        self._source = source
        self._progress = progress
        self._log = log
        self._every = every
        self._patience = patience
        self._broken_off = broken_off
        self._on_best = on_best
        self._on_result = on_result

    @property
    def stopped_early(self) -> bool:
        """Whether patience is at its end."""
        return bool(self._patience) and self._progress.worse >= self._patience

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._progress.step == 0 and not self.results:
            self._validate(start=True)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._every and self._progress.step % self._every == 0:
            self._validate()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # A validation where a run happens to be interrupted would make it another run.
        if not self._broken_off() and self.results[-1]["step"] != self._progress.step:
            self._validate()
        if logs is not None:
            logs["val_loss"] = self.results[-1]["loss"]
            logs["val_accuracy"] = self.results[-1]["accuracy"]

    def _validate(self, start: bool = False) -> None:
        # A loss that is not finite ends the run before its adapter could pass for the best.
        self._log.flush()
        began = time.monotonic()
        self._finetuner.sync()
        windows = (
            arrays(self._source.window(0, index)) for index in range(self._source.steps_per_epoch)
        )
        result = self._finetuner.validate(windows)
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


class Checkpoints(keras.callbacks.Callback):
    """Saves every so many steps, and ends the run when it is asked to.

    A checkpoint that falls on the end of an epoch is written after its validation, which
    a resumed run would not do again.

    Args:
        finetuner: what is stopped.
        progress: the count of steps.
        log: whose clock pauses meanwhile.
        every: optimizer steps between checkpoints; 0 for none on the way.
        epoch_ends: whether this was the last step before `on_epoch_end`.
        save: writes one.
        stop_asked: whether the run should end after this step.
    """

    def __init__(
        self,
        finetuner: FineTuner,
        progress: Progress,
        log: MetricsLog,
        *,
        every: int,
        epoch_ends: Callable[[], bool],
        save: Callable[[], None],
        stop_asked: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._finetuner = finetuner
        self._progress = progress
        self._log = log
        self._every = every
        self._epoch_ends = epoch_ends
        self._save = save
        self._stop_asked = stop_asked
        self._due = False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._stop_asked():
            self._finetuner.stop_training = True
        elif self._every and self._progress.step % self._every == 0:
            self._due = True
            if not self._epoch_ends():
                self._write()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._due:
            self._write()

    def _write(self) -> None:
        # The metrics go first: those that a checkpoint is ahead of would be lost with a kill.
        self._log.flush()
        began = time.monotonic()
        self._save()
        self._due = False
        self._log.pause(time.monotonic() - began)
