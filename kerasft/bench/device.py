"""The device of a benchmark, and the rate of a large product on it."""

import statistics
import time
from typing import Any

from kerasft import backend

SIZES = {"cuda": 8192, "cpu": 2048}
"""Rows and columns of the square matrices."""


def measure(dtype: str) -> dict[str, Any]:
    """Name the device, resolve `auto`, and time a product of two random matrices on torch.

    Returns:
        `kind`, `name`, `memory_bytes`, `dtype`, and `flops_per_second`: 2·n³ over the
        median of ten products after three, in the dtype of the work.
    """
    backend.select("torch")
    import torch

    from kerasft.engine.device import current, resolve_dtype

    device, dtype = current(), resolve_dtype(dtype)
    size = SIZES.get(device.kind, SIZES["cpu"])
    left, right = (
        torch.randn(size, size, device=device.kind, dtype=torch.float32).to(getattr(torch, dtype))
        for _ in range(2)
    )
    seconds = []
    for _ in range(13):
        began = time.perf_counter()
        left @ right
        if device.kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return {
        "kind": device.kind,
        "name": device.name,
        "memory_bytes": device.memory_bytes,
        "dtype": dtype,
        "flops_per_second": 2.0 * size**3 / statistics.median(seconds[3:]),
    }
