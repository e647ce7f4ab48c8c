"""When a forward pass in float32 is taken to fit."""

from pathlib import Path

import pytest

from kerasft.bench.shapes import SHAPES
from kerasft.export import room


def test_an_8b_model_needs_its_float32_weights_and_some():
    shape = SHAPES["llama3.1-8b"]
    needed = room.needed_bytes(shape.table, shape.config, 0)
    assert 36e9 < needed < 40e9


def test_too_little_memory_is_said_before_a_framework_is_imported(monkeypatch):
    monkeypatch.setattr(room, "free_ram_bytes", lambda: 3 << 30)
    assert room.shortage(8 << 30, "torch") == (
        "a forward pass in float32 needs 8.0 GiB and this machine has 3.0 GiB of memory free"
    )


@pytest.mark.keras
def test_a_model_that_fits_has_no_shortage(monkeypatch, backend):
    monkeypatch.setattr(room, "free_ram_bytes", lambda: None)
    assert room.shortage(1 << 20, backend) is None


def test_a_containers_limit_counts_less_what_it_uses(tmp_path: Path):
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("1000\n")
    used.write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert room._cgroup(limit, used, "inactive_file") == 500
    limit.write_text("max\n")
    assert room._cgroup(limit, used, "inactive_file") is None
    assert room._cgroup(tmp_path / "none", used, "inactive_file") is None


def test_free_memory_is_known_on_linux():
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc/meminfo")
    assert room.free_ram_bytes() > 1 << 20
