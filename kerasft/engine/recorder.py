"""Metrics that stay on the device for a while, so that a step never waits to be logged."""

import time
from collections.abc import Mapping
from typing import Any

FLUSH_SECONDS = 0.5
"""Metrics stay on the device for at most this long, so that a fast step never waits."""

MAX_PENDING = 64
"""Steps whose metrics may wait on the device at once."""


class Recorder:
    """The metrics of a `Tuner`: kept, and read back every half second.

    Attributes:
        latest: of the newest step that was read back.
    """

    def begin_recording(self) -> None:
        """Start with nothing."""
        self.latest: dict[str, float] = {}
        self._pending: list[Mapping[str, Any]] = []
        self._drained: list[dict[str, float]] = []
        self._flushed_at = time.monotonic()

    def record(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Keep a step's metrics on the device, and give the latest ones read back.

        Returns:
            Plain floats for the callbacks: this step's when it was slow or the buffer
            was due, else those of the last flush.
        """
        self._pending.append(metrics)
        # Callbacks read `loss` after the first step too, so that one is not kept waiting.
        due = not self.latest or time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        if due or len(self._pending) >= MAX_PENDING:
            self.flush()
        return self.latest

    def flush(self) -> None:
        """Read the waiting metrics back from the device."""
        for metrics in self._pending:
            self._drained.append({name: float(value) for name, value in metrics.items()})
        self._pending.clear()
        self._flushed_at = time.monotonic()
        if self._drained:
            self.latest = self._drained[-1]

    def drain(self) -> list[dict[str, float]]:
        """The metrics that were read back since the last call, oldest first."""
        drained, self._drained = self._drained, []
        return drained
