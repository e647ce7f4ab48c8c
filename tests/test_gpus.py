"""What the NVIDIA driver lists."""

import pytest

from kerasft import gpus as module
from kerasft.gpus import gpus, parsed, visible

LISTING = """\
0, GPU-aaaa, Tesla T4, 15360, 15101, 7.5, 550.54.15
1, GPU-bbbb, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0, 550.54.15
2, GPU-cccc, NVIDIA GB10, [N/A], [N/A], 12.1, 580.1
"""


def test_a_listing_is_read_and_what_it_does_not_say_left_out():
    t4, h100 = parsed(LISTING)
    assert (t4.name, t4.total_bytes, t4.capability) == ("Tesla T4", 15360 << 20, 7.5)
    assert not t4.computes_bfloat16 and h100.computes_bfloat16
    assert parsed("") == [] and parsed("No devices were found\n") == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("GPU-bb", [1]), ("", []), ("7,0", [])],
)
def test_only_those_that_programs_may_see(monkeypatch, variable, expected):
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu.index for gpu in visible(parsed(LISTING))] == expected


def test_no_driver_is_no_gpu(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert gpus() == []


def test_a_driver_that_fails_is_no_gpu(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: "/bin/false")
    assert gpus() == []
