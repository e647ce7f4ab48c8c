"""What is said about the machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from kerasft.engine import device

pytestmark = pytest.mark.keras


def test_a_named_type_stays():
    for dtype in ("float32", "bfloat16", "float16"):
        assert device.resolve_dtype(dtype) == dtype


def test_auto_is_one_that_the_device_has(backend):
    found = device.resolve_dtype("auto")
    assert found in ("float32", "bfloat16")
    if backend == "jax" and device.current().kind == "cpu":
        assert found == "float32"


def test_the_device_is_named():
    current = device.current()
    assert current.kind in ("cpu", "cuda", "mps", "tpu") and current.name
    assert (current.memory_bytes is None) == (current.kind in ("cpu", "mps"))
    assert device.chunk_bytes() == (2**27 if current.kind == "cpu" else 2**30)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_what_the_kernel_counts():
    if device.current().kind != "cpu":
        pytest.skip("on an accelerator it is the accelerator's memory")
    status = Path("/proc/self/status").read_text("utf-8")
    kibibytes = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert device.peak_memory_bytes() == pytest.approx(1024 * kibibytes, rel=0.02)
