"""How long a run may take before it saves and stops by itself."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasft.durations import seconds_of, written

clock = time.monotonic
"""Seconds; what budgets and periodic saves are measured by."""

KAGGLE_VARIABLE = "KAGGLE_KERNEL_RUN_TYPE"
"""What Kaggle sets in the environment of its kernels."""

KAGGLE_SECONDS = {"tpu": 9 * 3600}
"""A session's limit by the kind of device where it is not `KAGGLE_OTHERWISE`: Kaggle's
documentation of notebooks, "Technical Specifications"."""

KAGGLE_OTHERWISE = 12 * 3600

KAGGLE_AFTERWARDS = 45 * 60
"""Seconds of a Kaggle session that are left to what follows training."""

MARGIN = 1.2
"""What a measured time may be exceeded by the next time."""


@dataclass(frozen=True)
class Budget:
    """A length of time that began.

    Attributes:
        seconds: its length.
        began: `clock()` at its start.
        source: what it is called in messages.
    """

    seconds: float
    began: float
    source: str

    def left(self) -> float:
        """Seconds that are left; negative when it is overdrawn."""
        return self.began + self.seconds - clock()

    def is_short_of(self, needed: float) -> bool:
        """Whether what is left does not hold `needed` seconds and `MARGIN`."""
        return self.left() < MARGIN * needed


def budget_of(
    setting: str | None,
    device_kind: str,
    began: float,
    environment: Mapping[str, str] = os.environ,
) -> Budget | None:
    """The time budget of one call of `train`.

    Args:
        setting: `train.time_budget`.
        device_kind: as `Device.kind` has it.
        began: `clock()` when the call began.
        environment: where Kaggle is known by.

    Returns:
        The setting's; where there is none, on Kaggle, what its session has left less
        `KAGGLE_AFTERWARDS`; else None.
    """
    if setting is not None:
        return Budget(seconds_of(setting), began, f"the time budget of {setting}")
    if KAGGLE_VARIABLE not in environment:
        return None
    limit = KAGGLE_SECONDS.get(device_kind, KAGGLE_OTHERWISE)
    seconds = limit - KAGGLE_AFTERWARDS
    return Budget(
        seconds,
        clock() - container_seconds(),
        f"{written(seconds)} of Kaggle's session of {written(limit)}",
    )


def container_seconds(proc: Path = Path("/proc")) -> float:
    """How long ago process 1, the container's first, was started; 0 where that is not known."""
    try:
        up = float((proc / "uptime").read_text("ascii").split()[0])
        # The name, in parentheses, may hold spaces; starttime is field 22, in clock ticks.
        fields = (proc / "1" / "stat").read_text("utf-8").rpartition(")")[2].split()
        return max(up - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
