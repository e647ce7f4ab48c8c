"""What only sessions on torch have: rings, rooms that are kept, steps that are counted."""

from __future__ import annotations

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("sessions of the other backend", allow_module_level=True)

import torch

from kerasft.engine import torch_generate
from kerasft.engine.torch_block import lay_out
from kerasft.engine.torch_generate_session import TorchSession, rounded_rows
from kerasft.errors import RunError
from kerasft.models.architecture import blocks_of
from tests.engine.sessions import NEW, Subject, prompts
from tests.tiny import WINDOW

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def gemma3() -> Subject:
    """Query and key norms, local and global blocks, shared key-value heads."""
    return Subject("gemma3")


def test_the_cache_has_the_type_of_the_base():
    subject = Subject("gemma3", "bfloat16")
    found = subject.generator.start(prompts(), 4).logits()
    cache = subject.generator._memory.cache
    assert {each.dtype for each in (*cache.keys, *cache.values)} == {torch.bfloat16}
    expected = np.stack([subject.next_logits(row) for row in prompts()])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_local_blocks_keep_their_window_and_no_more(gemma3):
    gemma3.generator.start(prompts(), NEW)
    cache = gemma3.generator._memory.cache
    rooms = {kind: cache.rooms[kind] for kind in ("local", "global")}
    assert rooms == {"local": WINDOW, "global": torch_generate.ROOM_STEP}


def test_no_step_is_taken_once_all_rows_have_ended(gemma3, monkeypatch):
    free = gemma3.generator.start(prompts(), NEW).greedy(NEW, [])
    stops = sorted({int(row[step]) for row, step in zip(free, (2, 5, 9, 0), strict=True)})
    session, taken = gemma3.generator.start(prompts(), NEW), []
    step = TorchSession._greedy_step
    monkeypatch.setattr(TorchSession, "_greedy_step", lambda *given: taken.append(step(*given)))
    last = max(int(np.isin(row, stops).argmax()) for row in free)
    assert session.greedy(NEW, stops).shape[1] == len(taken) == last + 1 < NEW


def test_prompts_read_in_parts_are_prompts_read_at_once(gemma3, monkeypatch):
    rows = prompts((9, 50, 3, 33, 1, 40))
    whole = gemma3.generator.start(rows, 2).logits()
    monkeypatch.setitem(torch_generate.TILE, "cpu", 1)
    np.testing.assert_allclose(gemma3.generator.start(rows, 2).logits(), whole, atol=1e-4)


def test_what_an_older_batch_left_in_the_cache_is_not_seen(gemma3):
    rows = prompts((9, 2))
    first = Subject("gemma3").generator.start(rows, 4).greedy(4, [])
    gemma3.generator.start(prompts((60, 50, 40)), 40).greedy(20, [])
    memory = gemma3.generator._memory
    np.testing.assert_array_equal(gemma3.generator.start(rows, 4).greedy(4, []), first)
    assert gemma3.generator._memory is memory, "a smaller batch has room in it"
    gemma3.generator.start(prompts((100,)), 40)
    assert gemma3.generator._memory is not memory


def test_an_older_session_cannot_go_on(gemma3):
    older = gemma3.generator.start(prompts(), 4)
    gemma3.generator.start(prompts(), 4)
    for go_on in (lambda: older.greedy(1, []), older.logits, lambda: older.top(1)):
        with pytest.raises(
            RunError, match="others were put there by a later start; start them again"
        ):
            go_on()


def test_weights_are_laid_out_once(gemma3):
    """A second reader of the model shares the matrices of the first."""
    config = gemma3.family.config_of(gemma3.causal_lm.backbone)
    kinds, specs = gemma3.generator.architecture.kinds, gemma3.family.tensors(config)
    again = [
        lay_out(block) for block in blocks_of(gemma3.causal_lm.backbone, specs, kinds, gemma3.lora)
    ]
    for mine, other in zip(gemma3.generator._frozen, again, strict=True):
        assert {n: t.data_ptr() for n, t in mine.items()} == {
            n: t.data_ptr() for n, t in other.items()
        }
        assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_rows_are_rounded_to_few():
    assert [rounded_rows(rows) for rows in (1, 2, 3, 5, 64, 65, 1034)] == [
        *(1, 2, 4, 8, 64, 128, 1088)
    ]
