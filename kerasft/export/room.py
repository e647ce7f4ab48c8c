"""Whether a forward pass in float32 fits into this machine, for the proof by logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kerasft.memory_use import free_ram_bytes

if TYPE_CHECKING:
    from kerasft.models.families import Family

_OVERHEAD_BYTES = 1536 << 20
"""Python with the libraries, and the activations of one row."""

_LARGEST_COPY = 2
"""Copies of the largest tensor that are there for a moment while a model is filled."""


def needed_bytes(family: Family, config: Mapping[str, Any], logit_bytes: int) -> int:
    """What a process needs that holds a model in float32 and computes one row with it.

    Args:
        family, config: of the model.
        logit_bytes: of the float32 logits of the longest row.
    """
    specs = family.tensors(config)
    weights = 4 * sum(spec.size for spec in specs)
    largest = 4 * max(spec.size for spec in specs)
    return weights + _LARGEST_COPY * largest + logit_bytes + _OVERHEAD_BYTES


def shortage(needed: int, backend: str) -> str | None:
    """Why a model in float32 does not fit, in a sentence; None where it does.

    The live model stands on the backend's device, and the reader on the CPU when the
    live model is gone.

    Args:
        needed: see `needed_bytes`.
        backend: of the live model.
    """
    free = free_ram_bytes()
    if free is not None and needed > free:
        return _sentence(needed, f"this machine has {_gib(free)} of memory free")
    from kerasft.engine.device import current
    from kerasft.memory import available_bytes

    device = current()
    room = None if device.kind == "cpu" else available_bytes(device)
    if room is not None and needed > room:
        return _sentence(needed, f"the accelerator has {_gib(room)}")
    return None


def _sentence(needed: int, place: str) -> str:
    return f"a forward pass in float32 needs {_gib(needed)} and {place}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
