"""Memory as it is now: what a device has, what this process holds of it, what is free."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.gpus import gpus, visible

FULL_BELOW = 0.05
"""Share of an accelerator's memory: with less of it free, libraries that want room of their
own, such as cuDNN and cuBLAS for their workspaces, find none."""

_CGROUPS = (
    (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory.current"),
        "inactive_file",
    ),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        "total_inactive_file",
    ),
)
"""Of either version: the limit, what is in use, and what of it are files that could go."""


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a device, in bytes.

    Attributes:
        name: of the device.
        total: that there is.
        own: held by this process.
        free: held by nobody, which this process could still have.
    """

    name: str
    total: int
    own: int
    free: int

    @property
    def others(self) -> int:
        """Held by other programs and by the driver."""
        return max(0, self.total - self.own - self.free)

    @property
    def full(self) -> bool:
        return self.free < FULL_BELOW * self.total


def memory_use() -> MemoryUse | None:
    """Of the device that this process computes on; None where it cannot be known.

    Asks the framework that is imported already, and imports none.
    """
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    config = getattr(keras, "config", None)
    if config is not None and config.backend() == "jax":
        return _of_jax(sys.modules["jax"])
    if torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_properties(0).name
        return MemoryUse(name, total, torch.cuda.memory_reserved(), free)
    if torch is not None and torch.backends.mps.is_available():
        return None
    return _of_the_machine()


def ram_bytes() -> int | None:
    """Physical memory, or a container's limit where that is less; None on Windows."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    return min(found + [limit for limit, _ in _containers()])


def free_ram_bytes() -> int | None:
    """What a program could have without swapping; None where the system does not say."""
    found = [limit - used for limit, used in _containers()]
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):  # no Linux
        return None
    return max(0, min(found))


def resident_bytes() -> int:
    """RAM that this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _of_jax(jax: Any) -> MemoryUse | None:
    device = jax.devices()[0]
    if device.platform == "cpu":
        return _of_the_machine()
    statistics = device.memory_stats() or {}
    limit = statistics.get("bytes_limit")
    if limit is None:
        return None
    used = statistics.get("bytes_in_use", 0)
    own = max(used, statistics.get("pool_bytes", 0))
    cards = visible(gpus()) if device.platform == "gpu" else []
    if not cards:
        return MemoryUse(device.device_kind, limit, used, limit - used)
    card = cards[min(device.local_hardware_id or 0, len(cards) - 1)]
    free = min(card.free_bytes, max(0, limit - own))
    # By XLA_CLIENT_MEM_FRACTION; what it keeps back is held by nobody.
    name = f"JAX's share of the {device.device_kind}"
    return MemoryUse(name, min(limit, card.total_bytes), own, free)


def _of_the_machine() -> MemoryUse | None:
    total, free = ram_bytes(), free_ram_bytes()
    if total is None or free is None:
        return None
    return MemoryUse("this machine", total, resident_bytes(), free)


def _containers() -> list[tuple[int, int]]:
    """(limit, used) of the container that this process is in, where there is one.

    Cached files that nobody reads do not count as used.
    """
    found = []
    for limit, used, cached in _CGROUPS:
        try:
            total, taken = int(limit.read_text("ascii")), int(used.read_text("ascii"))
        except (OSError, ValueError):  # not in a container, or `max`
            continue
        found.append((total, taken - _cached(used.with_name("memory.stat"), cached)))
    return found


def _cached(statistics: Path, name: str) -> int:
    try:
        lines = statistics.read_text("ascii").splitlines()
        return int(dict(line.split(" ", 1) for line in lines)[name])
    except (OSError, KeyError, ValueError):
        return 0
