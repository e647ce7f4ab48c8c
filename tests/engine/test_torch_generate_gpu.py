"""Generating on an NVIDIA GPU: recorded steps, and attention over the cache."""

from __future__ import annotations

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("sessions of the other backend", allow_module_level=True)

import torch

from kerasft.engine.torch_generate import TorchGenerator
from kerasft.engine.torch_generate_cache import CachedAttention
from kerasft.engine.torch_generate_session import BLOCK
from kerasft.models.families import FAMILIES
from tests.engine.tuning import small_model, with_lora
from tests.tiny import VOCABULARY

pytestmark = [pytest.mark.keras, pytest.mark.gpu]

NEW = 2 * BLOCK + 3
LENGTHS = (70, 1, 9, 33, 20, 5, 64, 2)


@pytest.fixture(autouse=True)
def ampere() -> None:
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs an NVIDIA GPU of compute capability 8.0 or above")


def prompts(rows: int = len(LENGTHS)) -> list[list[int]]:
    random = np.random.default_rng(11)
    drawn = [[2, *random.integers(4, VOCABULARY, length - 1).tolist()] for length in LENGTHS]
    return drawn[:rows]


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 5), ("bfloat16", 8)])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_recorded_steps_are_eager_ones(family, dtype, rows):
    """The same kernels on the same numbers: also after rows were dropped, and base alone.

    Five rows are filled up to eight, which another algorithm may multiply: in bfloat16 that
    would be other tokens.
    """
    causal_lm = small_model(family, dtype=dtype)
    lora = with_lora(causal_lm, family)
    recorded, eager = (
        TorchGenerator(causal_lm.backbone, FAMILIES[family], lora, capture=capture)
        for capture in (True, False)
    )
    assert recorded.captures and not eager.captures

    def answers(generator: TorchGenerator) -> list[np.ndarray]:
        session = generator.start(prompts(rows), 2 * NEW)
        found = [session.greedy(NEW, []), session.logits()]
        session.reorder(np.array([3, 0]))
        session.advance(np.array([5, 6]))
        return [*found, session.greedy(NEW - 1, [])]

    for _ in range(2):
        for mine, other in zip(answers(recorded), answers(eager), strict=True):
            np.testing.assert_allclose(mine, other, atol=0 if mine.dtype == np.int32 else 0.05)
    adapted = recorded.start(prompts(rows), NEW).greedy(NEW, [])
    with lora.disabled():
        base = recorded.start(prompts(rows), NEW).greedy(NEW, [])
        np.testing.assert_array_equal(base, eager.start(prompts(rows), NEW).greedy(NEW, []))
    assert (base != adapted).any()
    np.testing.assert_array_equal(recorded.start(prompts(rows), NEW).greedy(NEW, []), adapted)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_fused_blocks_are_plain_ones(family):
    """In float32, to its rounding: products by TF32 would be further apart."""
    causal_lm = small_model(family)
    lora = with_lora(causal_lm, family)
    found = []
    for fuse in (True, False):
        generator = TorchGenerator(causal_lm.backbone, FAMILIES[family], lora, fuse=fuse)
        assert generator._fuses is fuse
        session = generator.start(prompts(), NEW)
        tokens = session.greedy(NEW - 1, [])
        found.append((tokens, session.logits()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], atol=2e-4)


@pytest.mark.parametrize(("heads", "groups", "width"), [(4, 1, 256), (8, 4, 64), (4, 4, 128)])
def test_flash_attention_over_a_cache_is_that_of_products(heads, groups, width):
    random = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, device="cuda").to(torch.bfloat16)

    room, positions = 192, torch.tensor([0, 3, 100, 190, 191], device="cuda")
    rows = len(positions)
    query, key, value = (drawn(rows, count, width) for count in (heads, groups, groups))
    keys, values = drawn(rows, room, groups, width), drawn(rows, room, groups, width)
    other = [each.transpose(1, 2).contiguous() for each in (keys, values)]
    numbers = torch.arange(rows, device="cuda")
    counts = torch.arange(rows + 1, device="cuda", dtype=torch.int32)
    flash = CachedAttention("flash", width**-0.5, None)(
        query,
        key,
        value,
        (keys, values, numbers, positions, (positions + 1).int(), counts, counts * room),
    )
    mask = (torch.arange(room, device="cuda") > positions[:, None])[:, None, None]
    products = CachedAttention("products", width**-0.5, None)(
        query, key, value, (*other, numbers, positions, mask)
    )
    torch.testing.assert_close(flash, products, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(keys.transpose(1, 2), other[0], atol=0, rtol=0)


def test_recorded_steps_do_not_wait_for_the_host():
    """Between two blocks: a synchronisation would raise here."""
    causal_lm = small_model("gemma3", dtype="bfloat16")
    session = TorchGenerator(causal_lm.backbone, FAMILIES["gemma3"], None).start(prompts(), NEW)
    stops = session._memory.stops([1])
    session.greedy(1, [1])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(4):
            session._replayed(("greedy", len(stops)), lambda: session._greedy_step(stops))
    finally:
        torch.cuda.set_sync_debug_mode("default")
