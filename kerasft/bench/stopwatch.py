"""When the clock is read, the same for every contender.

    first │ warm-up … │ free: one synchronisation at the end │ synchronised: one a step

The median is that of the synchronised steps. Throughput is that of the free ones: what a
user has, whose loop does not wait for the device.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Optimizer steps of each phase, after the first one."""

    warmup: int
    free: int
    synchronised: int

    @property
    def total(self) -> int:
        return 1 + self.warmup + self.free + self.synchronised


@dataclass(frozen=True)
class Counts:
    """What a step trained on, padding left out."""

    rows: int
    tokens: int
    supervised_tokens: int


@dataclass
class Stopwatch:
    """Times the steps of a plan.

    Attributes:
        plan: how many steps each phase has.
        synchronise: waits until the device has done all that it was given.
        clock: seconds.
    """

    plan: Plan
    synchronise: Callable[[], None]
    clock: Callable[[], float] = time.perf_counter
    steps: int = 0
    first_seconds: float = 0.0
    free_seconds: float = 0.0
    total_seconds: float = 0.0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    _since: float = 0.0

    def start(self) -> None:
        """Right before the first step is asked for."""
        self._since = self.clock()

    def step(self, counts: Counts) -> None:
        """Right after a step was asked for."""
        plan, done = self.plan, self.steps
        self.steps += 1
        free_from = 1 + plan.warmup
        free_to = free_from + plan.free
        if done == 0:
            self.first_seconds = self._lap()
        elif done < free_from:
            if done == free_from - 1:
                self._lap()
        elif done < free_to:
            self.rows += counts.rows
            self.tokens += counts.tokens
            self.supervised_tokens += counts.supervised_tokens
            if done == free_to - 1:
                self.free_seconds = self._lap()
        elif done < plan.total:
            self.seconds.append(self._lap())

    def _lap(self) -> float:
        self.synchronise()
        now = self.clock()
        lap, self._since = now - self._since, now
        self.total_seconds += lap
        return lap

    def result(self) -> Mapping[str, Any]:
        """The measurements as JSON values; rates are per second of the free steps."""
        seconds = self.free_seconds
        return {
            "steps": self.steps,
            "first_step_seconds": self.first_seconds,
            "median_step_seconds": statistics.median(self.seconds) if self.seconds else None,
            "free_steps": self.plan.free,
            "free_seconds": seconds,
            "mean_step_seconds": seconds / self.plan.free if self.plan.free else None,
            **{
                f"{name}_per_second": count / seconds if seconds else None
                for name, count in (
                    ("rows", self.rows),
                    ("tokens", self.tokens),
                    ("supervised_tokens", self.supervised_tokens),
                )
            },
        }
