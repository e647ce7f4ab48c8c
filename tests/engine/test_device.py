"""What is said about the machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import keras
import pytest

from kerasft.engine import device

pytestmark = pytest.mark.keras


def test_a_named_type_stays():
    for dtype in ("float32", "bfloat16", "float16"):
        assert device.resolve_dtype(dtype) == dtype


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("fpu avx2 avx512f", "float32"), ("avx512f avx512_bf16", "bfloat16"), ("", "float32")],
)
def test_auto_on_a_cpu_is_what_it_multiplies_in(monkeypatch, flags, dtype):
    if device.current().kind != "cpu":
        pytest.skip("the device is no CPU")
    monkeypatch.setattr(device, "_cpuinfo", lambda field: flags)
    # XLA has no products in bfloat16 on a CPU.
    expected = dtype if keras.backend.backend() == "torch" else "float32"
    assert device.resolve_dtype("auto") == expected


def test_the_device_is_named():
    current = device.current()
    assert current.kind in ("cpu", "cuda", "mps", "tpu") and current.name
    assert (current.memory_bytes is None) == (current.kind in ("cpu", "mps"))
    whole = 2**26 if current.kind == "cpu" else 2**29
    assert device.chunk_bytes() == whole
    assert device.chunk_bytes(remat=True) == (whole if current.kind == "cpu" else whole // 2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_what_the_kernel_counts():
    if device.current().kind != "cpu":
        pytest.skip("on an accelerator it is the accelerator's memory")
    status = Path("/proc/self/status").read_text("utf-8")
    kibibytes = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert device.peak_memory_bytes() == pytest.approx(1024 * kibibytes, rel=0.02)
