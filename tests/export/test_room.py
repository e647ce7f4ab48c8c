"""When a forward pass in float32 is taken to fit."""

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
