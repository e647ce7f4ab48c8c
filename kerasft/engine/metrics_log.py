"""The numbers of every step: counted, written to metrics.jsonl, and watched."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasft.data.batching import Counts, WindowSource
from kerasft.engine.device import peak_memory_bytes
from kerasft.engine.hooks import Hooks, Tuner
from kerasft.engine.progress import Incidents, Progress
from kerasft.engine.spikes import SpikeWatch
from kerasft.errors import RunError
from kerasft.runs import RunFolder

MOST_SKIPPED = 10
"""Updates in a row that are left out before the run ends: by then it is no single batch."""

MOST_NOTED = 100
"""Entries of each kind that `Incidents` keeps; the first ones tell where it began."""

ROWS_NAMED = 16
"""Rows that an entry or a message names of a window."""

STEP_METRICS = ("loss", "accuracy", "learning_rate", "gradient_norm")
"""What a step gives back, in the order of metrics.jsonl."""


class MetricsLog(Hooks):
    """Counts the steps and writes metrics.jsonl whenever numbers come back.

    Args:
        finetuner: whose numbers they are.
        source: the windows, for their counts.
        run: where they are written.
        progress: advanced here, and only here.
        on_line: called with each line after it is written.
        incidents: added to here.
        earlier_losses: of the steps before, which spikes are told by.
        skips: whether the step leaves out an update that is not finite.

    Attributes:
        rates: tokens a second of each line, the first step's among them.
        first_step_seconds: from the start of `fit` to the end of its first step, which
            compiles; None before that.
    """

    def __init__(
        self,
        finetuner: Tuner,
        source: WindowSource,
        run: RunFolder,
        progress: Progress,
        on_line: Callable[[Mapping[str, Any]], None],
        *,
        incidents: Incidents | None = None,
        earlier_losses: Sequence[float] = (),
        skips: bool = False,
    ) -> None:
        self.incidents = incidents or Incidents()
        self._spikes = SpikeWatch(earlier_losses)
        self._skips = skips
        self.rates: list[float] = []
        self.first_step_seconds: float | None = None
        self.finetuner = finetuner
        self.source = source
        self.run = run
        self.progress = progress
        self._on_line = on_line
        self._waiting: list[tuple[int, Counts, tuple[int, int]]] = []
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
        place = self.progress.epoch, self.progress.window
        counts = self.source.counts(*place)
        self.progress.step += 1
        self.progress.window += 1
        self.progress.tokens += counts.tokens
        self.progress.supervised_tokens += counts.supervised_tokens
        self._waiting.append((self.progress.step, counts, place))
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
        taken, self._waiting = self._waiting[: len(drained)], self._waiting[len(drained) :]
        lines = [
            {
                "step": step,
                **{name: metrics[name] for name in STEP_METRICS},
                "tokens": counts.tokens,
                "supervised_tokens": counts.supervised_tokens,
                "tokens_per_second": counts.tokens / each,
                "peak_memory_bytes": memory,
                "seconds": each,
                "input_wait_share": waited / spent,
            }
            for metrics, (step, counts, _) in zip(drained, taken, strict=True)
        ]
        self.run.append_metrics(lines)
        for line, (_, _, place) in zip(lines, taken, strict=True):
            self.rates.append(line["tokens_per_second"])
            self._on_line(line)
            self._look_at(line, place)

    def _look_at(self, line: Mapping[str, Any], place: tuple[int, int]) -> None:
        """Note a spike or an update left out; end the run where the numbers ended.

        Raises:
            RunError: they are not finite, and the run does not leave such updates out, or
                has left out `MOST_SKIPPED` in a row.
        """
        numbers = {name: line[name] for name in ("step", "loss", "gradient_norm")}
        if math.isfinite(line["loss"]) and math.isfinite(line["gradient_norm"]):
            self.progress.skipped_in_a_row = 0
            median = self._spikes.is_spike(line["loss"])
            if median is not None and len(self.incidents.spikes) < MOST_NOTED:
                rows = self._rows(place)
                self.incidents.spikes.append({**numbers, "median": median, "rows": rows})
            return
        rows = self._rows(place)
        said = (
            f"step {line['step']}: the loss is {line['loss']} and the gradient norm "
            f"{line['gradient_norm']}, on rows {', '.join(map(str, rows))} of the training rows"
        )
        if self._skips:
            self.progress.skipped_in_a_row += 1
            if len(self.incidents.skipped) < MOST_NOTED:
                self.incidents.skipped.append({**numbers, "rows": rows})
            if self.progress.skipped_in_a_row < MOST_SKIPPED:
                return
            said += f", and {MOST_SKIPPED} updates in a row were left out"
        raise RunError(
            f"{said}. The last checkpoint is whole; lower train.learning_rate, set "
            "train.clip_norm, or train in float32"
        )

    def _rows(self, place: tuple[int, int]) -> list[int]:
        """The first rows of a window, by their index among the training rows, from 0."""
        epoch, index = place
        examples = self.source.rows_of(epoch, index)
        return examples[:ROWS_NAMED]
