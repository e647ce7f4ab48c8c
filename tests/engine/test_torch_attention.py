"""The attention chosen for a device, and what its masks let a token see."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine.attention import SHORT_ROWS
from kerasft.engine.torch_attention import Attention, choose, rows_for

pytestmark = pytest.mark.keras


SEGMENTS = [1, 1, 1, 2, 2, 0, 0, 0]
VISIBLE = {
    None: "x....... xx...... xxx..... ...x.... ...xx... .....x.. .....xx. .....xxx",
    2: "x....... xx...... .xx..... ...x.... ...xx... .....x.. .....xx. ......xx",
}


@pytest.mark.parametrize("window", VISIBLE)
@pytest.mark.parametrize("method", ["masked", "products"])
def test_tokens_see_their_own_segment_up_to_themselves(method, window):
    attention = Attention(method, 1.0, window, 5.0, len(SEGMENTS))
    other_row = [1] * len(SEGMENTS)
    (mask,) = rows_for(attention, {"segment_ids": torch.tensor([SEGMENTS, other_row])})
    assert mask.dtype == torch.bool and tuple(mask.shape) == (2, 1, 8, 8)
    rows = ["".join("x" if seen else "." for seen in row) for row in mask[0, 0].tolist()]
    assert " ".join(rows) == VISIBLE[window]
    expected = [min(at + 1, window or 8) for at in range(8)]
    assert mask[1, 0].sum(-1).tolist() == expected


AMPERE = SimpleNamespace(device="cuda", cuda="13.0", capability=(8, 0), dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("method", "machine", "numbers"),
    [
        ("flash", {}, {}),
        ("flash", {"dtype": torch.float16, "capability": (9, 0)}, {}),
        ("products", {"device": "cpu"}, {}),
        ("masked", {"dtype": torch.float32}, {}),
        ("masked", {"capability": (7, 5)}, {}),
        ("masked", {"cuda": None}, {}),
        ("masked", {}, {"head_width": 264}),
        ("masked", {}, {"head_width": 20}),
        ("products", {}, {"attention_soft_cap": 50.0}),
    ],
)
def test_flash_attention_is_chosen_only_where_it_can_be(method, machine, numbers, monkeypatch):
    there = SimpleNamespace(**vars(AMPERE) | machine)
    monkeypatch.setattr(torch.version, "cuda", there.cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: there.capability)
    model = SimpleNamespace(
        **{"head_width": 256, "attention_soft_cap": None, "query_scale": 0.5} | numbers,
        window_of={"local": 64, "global": None}.get,
    )
    device = torch.device(there.device)
    chosen = choose(model, "local", 128, device, there.dtype)
    assert chosen == Attention(method, 0.5, 64, model.attention_soft_cap, 128)
    if method == "flash":
        micro = {"sequence_starts": torch.tensor([0, 3, 8, 8])}
        assert rows_for(chosen, micro) == (micro["sequence_starts"],)
    long = choose(model, "local", SHORT_ROWS + 64, device, there.dtype)
    short_on_a_cpu = there.device == "cpu" and not model.attention_soft_cap
    assert long.method == ("masked" if short_on_a_cpu else method)
    # Rows no longer than the window: local blocks are then the same function as global ones.
    local, everywhere = (
        choose(model, kind, 64, device, there.dtype) for kind in ("local", "global")
    )
    assert local == everywhere and local.window is None
