"""Sessions on torch, held against full forward passes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("sessions of the other backend", allow_module_level=True)

import torch

from kerasft.engine import torch_generate
from kerasft.engine.torch_block import lay_out
from kerasft.engine.torch_generate import TorchGenerator
from kerasft.engine.torch_generate_session import BLOCK, STOPS, TorchSession, rounded_rows
from kerasft.errors import RunError
from kerasft.models.architecture import blocks_of
from kerasft.models.families import FAMILIES
from tests.engine.tuning import small_model, with_lora
from tests.tiny import VOCABULARY, WINDOW, keras_logits

pytestmark = pytest.mark.keras

LENGTHS = (3 * WINDOW, 1, WINDOW - 1, WINDOW)
NEW = 2 * WINDOW


class Subject:
    """A tiny model with an adapter on it, and its generator."""

    def __init__(
        self, family: str, dtype: str = "float32", layout: str | None = "keras", **config: Any
    ) -> None:
        self.causal_lm = small_model(family, dtype=dtype, **config)
        self.family = FAMILIES[family]
        self.lora = None if layout is None else with_lora(self.causal_lm, family, layout=layout)
        self.generator = TorchGenerator(self.causal_lm.backbone, self.family, self.lora)

    def next_logits(self, row: list[int]) -> np.ndarray:
        """Logits after a row, from a full pass; what is right of it is not seen."""
        padded = np.zeros((1, 64), np.int32)
        padded[0, : len(row)] = row
        with torch.no_grad():
            return keras_logits(self.causal_lm, padded)[0, len(row) - 1]


@pytest.fixture(scope="module")
def gemma3() -> Subject:
    """Query and key norms, local and global blocks, shared key-value heads."""
    return Subject("gemma3")


def prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 11) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[2, *random.integers(4, VOCABULARY, length - 1).tolist()] for length in lengths]


def assert_next(subject: Subject, session: TorchSession, rows: list[list[int]]) -> None:
    expected = np.stack([subject.next_logits(row) for row in rows])
    found = session.logits()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("layout", ["keras", "peft"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_logits_after_prompts_and_tokens_of_mixed_lengths(family, layout):
    """Past the window of local blocks, whose room is then written over."""
    subject, rows = Subject(family, layout=layout), prompts()
    session = subject.generator.start(rows, NEW)
    assert_next(subject, session, rows)
    random = np.random.default_rng(5)
    for _ in range(WINDOW + 2):
        tokens = random.integers(4, VOCABULARY, len(rows))
        session.advance(tokens)
        rows = [[*row, int(token)] for row, token in zip(rows, tokens, strict=True)]
    assert_next(subject, session, rows)


@pytest.mark.parametrize("window", [1, 5, 200])
def test_windows_shorter_and_longer_than_everything(window):
    subject, rows = Subject("gemma3", sliding_window_size=window), prompts()
    session = subject.generator.start(rows, NEW)
    for token in range(4, 4 + WINDOW):
        session.advance(np.full(len(rows), token))
        rows = [[*row, token] for row in rows]
    assert_next(subject, session, rows)


@pytest.mark.parametrize("groups", [1, 4])
def test_one_key_value_head_and_one_a_query_head(groups):
    subject = Subject("gemma2", num_key_value_heads=groups)
    session = subject.generator.start(prompts(), NEW)
    session.advance(np.array([5, 6, 7, 8]))
    assert_next(subject, session, [[*r, t] for r, t in zip(prompts(), (5, 6, 7, 8), strict=True)])


def test_a_base_without_an_adapter():
    subject = Subject("gemma", layout=None)
    assert_next(subject, subject.generator.start(prompts(), 1), prompts())


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


def test_greedy_is_the_likeliest_token_of_each_step(gemma3):
    rows = prompts()
    found = gemma3.generator.start(rows, NEW).greedy(NEW, [])
    assert found.shape == (len(rows), NEW) and found.dtype == np.int32
    session = gemma3.generator.start(rows, NEW)
    for step in range(NEW):
        logits = session.logits()
        chosen = logits[np.arange(len(rows)), found[:, step]]
        assert (chosen >= logits.max(axis=-1) - 1e-4).all(), step
        session.advance(found[:, step])


def test_steps_in_parts_are_steps_at_once(gemma3):
    """More than a block of them, and with logits between, which read the pending tokens."""
    new = BLOCK + 9
    whole = gemma3.generator.start(prompts(), new).greedy(new, [])
    assert whole.shape[1] == new
    session = gemma3.generator.start(prompts(), new)
    parts = [session.greedy(3, [])]
    session.logits()
    parts += [session.greedy(0, []), session.greedy(new - 4, [])]
    assert (session.logits().argmax(axis=-1) == whole[:, -1]).all()
    parts.append(session.greedy(1, []))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_rows_end_with_their_stop_ids_and_the_last_one_ends_the_steps(gemma3, monkeypatch):
    free = gemma3.generator.start(prompts(), NEW).greedy(NEW, [])
    stops = sorted({int(row[step]) for row, step in zip(free, (2, 5, 9, 0), strict=True)})
    session, taken = gemma3.generator.start(prompts(), NEW), []
    step = TorchSession._greedy_step
    monkeypatch.setattr(TorchSession, "_greedy_step", lambda *given: taken.append(step(*given)))
    found = session.greedy(NEW, stops)
    ends = [int(np.isin(row, stops).argmax()) for row in free]
    assert found.shape[1] == len(taken) == max(ends) + 1 < NEW
    for row, whole, end in zip(found, free, ends, strict=True):
        np.testing.assert_array_equal(row[: end + 1], whole[: end + 1])
        assert (row[end + 1 :] == -1).all()
    # Ended rows stay so, whatever stops are asked for later.
    assert session.greedy(3, []).shape == (len(found), 0)


def test_many_stop_ids(gemma3):
    free = gemma3.generator.start(prompts((5,)), 4).greedy(4, [])[0]
    others = [token for token in range(4, VOCABULARY) if token != free[0]][: STOPS + 1]
    found = gemma3.generator.start(prompts((5,)), 4).greedy(4, [*others, int(free[0])])
    assert found.tolist() == [[int(free[0])]]


def test_one_row_that_goes_on_is_not_stopped_by_the_others(gemma3):
    free = gemma3.generator.start(prompts(), NEW).greedy(NEW, [])
    stop = next(t for t in free[0] if t not in free[1])
    session = gemma3.generator.start(prompts(), NEW)
    found = np.concatenate([session.greedy(NEW // 2, [stop]) for _ in range(2)], axis=1)
    np.testing.assert_array_equal(found[1], free[1])
    end = int((free[0] == stop).argmax())
    assert found[0, end] == stop and (found[0, end + 1 :] == -1).all()


def test_top_is_the_sorted_log_softmax(gemma3):
    session = gemma3.generator.start(prompts(), 1)
    logits = session.logits().astype(np.float64)
    tokens, found = session.top(5)
    assert (tokens.dtype, found.dtype, found.shape) == (np.int32, np.float32, (4, 5))
    expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found, -np.sort(-expected, axis=-1)[:, :5], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, tokens, -1), found, atol=1e-5)


@pytest.mark.parametrize("read", [False, True])
def test_reordered_rows_go_on_from_their_sources(gemma3, read):
    """Two of one row, and fewer rows than before."""
    rows = prompts()
    session = gemma3.generator.start(rows, 8)
    session.advance(np.array([7, 8, 9, 10]))
    rows = [[*row, token] for row, token in zip(rows, (7, 8, 9, 10), strict=True)]
    if read:
        session.logits()
    session.reorder(np.array([2, 2, 0]))
    rows = [rows[2], rows[2], rows[0]]
    assert_next(gemma3, session, rows)
    session.advance(np.array([10, 11, 12]))
    assert_next(gemma3, session, [[*r, t] for r, t in zip(rows, (10, 11, 12), strict=True)])


def test_fewer_rows_go_on_alone(gemma3):
    whole = gemma3.generator.start(prompts(), 12).greedy(12, [])
    session = gemma3.generator.start(prompts(), 12)
    parts = [session.greedy(4, [])[1]]
    session.reorder(np.array([3, 1]))
    rest = session.greedy(4, [])
    np.testing.assert_array_equal(rest[0], whole[3, 4:8])
    session.reorder(np.array([1]))
    parts += [rest[1], session.greedy(4, [])[0]]
    np.testing.assert_array_equal(np.concatenate(parts), whole[1])
    with pytest.raises(ValueError, match="there are 1 rows, and 2 were asked for"):
        session.reorder(np.array([0, 0]))


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


def test_the_adapter_is_switched_off_and_on(gemma3):
    adapted = gemma3.generator.start(prompts(), 1).logits()
    with gemma3.lora.disabled():
        session = gemma3.generator.start(prompts(), 1)
        assert_next(gemma3, session, prompts())
        assert np.abs(session.logits() - adapted).max() > 0.1
    np.testing.assert_array_equal(gemma3.generator.start(prompts(), 1).logits(), adapted)


def test_an_older_session_cannot_go_on(gemma3):
    older = gemma3.generator.start(prompts(), 4)
    gemma3.generator.start(prompts(), 4)
    for go_on in (lambda: older.greedy(1, []), older.logits, lambda: older.top(1)):
        with pytest.raises(RunError, match="a newer one was started"):
            go_on()


def test_more_tokens_than_there_is_room_for_are_refused(gemma3):
    session = gemma3.generator.start(prompts(), 3)
    with pytest.raises(ValueError, match="4 more tokens were asked for, there is room for 3"):
        session.greedy(4, [])
    session.advance(np.array([5, 6, 7, 8]))
    assert session.greedy(2, []).shape == (4, 2)
    assert session.logits().shape == (4, VOCABULARY)
    with pytest.raises(ValueError, match="room for 0"):
        session.advance(np.array([5, 6, 7, 8]))


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
