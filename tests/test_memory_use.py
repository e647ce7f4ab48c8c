"""Memory as it is now."""

import os
import sys
from types import SimpleNamespace

import pytest

from kerasft import memory_use as module
from kerasft.gpus import Gpu
from kerasft.memory_use import MemoryUse, free_ram_bytes, memory_use, ram_bytes, resident_bytes


@pytest.fixture
def container(tmp_path, monkeypatch):
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(module, "_CGROUPS", ((limit, used, "inactive_file"),))
    return limit, used


def test_a_container_s_limit_is_the_ram(container):
    limit, used = container
    ram = ram_bytes()
    assert ram > 2**28
    limit.write_text("max\n")
    used.write_text("1000\n")
    assert ram_bytes() == ram
    limit.write_text(f"{2**27}\n")
    used.write_text(f"{2**26}\n")
    assert ram_bytes() == 2**27
    assert free_ram_bytes() == 2**26
    limit.with_name("memory.stat").write_text(f"anon 500\ninactive_file {2**20}\n")
    assert free_ram_bytes() == 2**26 + 2**20


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="Linux says what is free")
def test_this_process_holds_some_and_less_is_free_than_there_is():
    use = memory_use()
    assert 2**23 < use.own <= use.total and 0 <= use.free < use.total
    before = resident_bytes()
    held = bytearray(os.urandom(1 << 20) * 64)
    assert resident_bytes() - before > 48 << 20 and held


def test_what_is_left_belongs_to_others():
    use = MemoryUse("a card", total=100, own=60, free=4)
    assert use.others == 36 and use.full
    assert not MemoryUse("a card", total=100, own=60, free=5).full
    assert MemoryUse("a card", total=100, own=90, free=20).others == 0


def test_what_jax_keeps_back_of_a_card_is_not_taken_for_somebody_s(monkeypatch):
    """An H100 of 80 GiB with JAX's share of 60: 8 held by this process, none by others."""
    statistics = {"bytes_limit": 60, "bytes_in_use": 5, "pool_bytes": 8}
    device = SimpleNamespace(
        platform="gpu",
        device_kind="H100",
        local_hardware_id=0,
        memory_stats=lambda: statistics,
    )
    keras = SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [device]))
    card = Gpu(0, "GPU-1", "H100", total_bytes=80, free_bytes=72, capability=9.0, driver="580")
    monkeypatch.setattr(module, "gpus", lambda: [card])
    use = memory_use()
    assert (use.total, use.own, use.free, use.others) == (60, 8, 52, 0)
    crowded = SimpleNamespace(**{**vars(card), "free_bytes": 30})
    monkeypatch.setattr(module, "gpus", lambda: [crowded])
    assert (memory_use().free, memory_use().others) == (30, 22)
