"""What only sessions on JAX have: programs, donated caches, rows that are relabelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("sessions of the other backend", allow_module_level=True)

import jax

from kerasft.engine import jax_generate, jax_rooms
from kerasft.engine.jax_cache import stored, visible_slots
from kerasft.engine.jax_generate import JaxGenerator
from kerasft.engine.jax_rooms import rounded
from kerasft.models.families import FAMILIES
from tests.engine.sessions import NEW, Subject, assert_next, prompts
from tests.tiny import WINDOW

pytestmark = pytest.mark.keras

PROGRAMS = {"_adapters": 1, "_fill": 1, "_write": 1, "_greedy": 2, "_reorder": 1}
"""What one evaluation compiles, by the name of what is compiled."""


@pytest.fixture(scope="module")
def gemma3() -> Subject:
    """Query and key norms, local and global blocks, shared key-value heads."""
    return Subject("gemma3")


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of what JAX compiles, or takes from its cache of compiled programs."""
    found: list[str] = []

    def listen(event: str, seconds: float, **details: object) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(str(details.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_rows_grow_past_a_window_that_held_all_prompts():
    subject = Subject("gemma3", sliding_window_size=66)
    rows = prompts((64, 5, 58))
    session = subject.generator.start(rows, 10)
    found = session.greedy(9, [])
    assert_next(subject, session, [[*r, *new] for r, new in zip(rows, found.tolist(), strict=True)])


def test_the_cache_has_the_type_of_the_base():
    subject = Subject("gemma3", "bfloat16")
    session = subject.generator.start(prompts(), 4)
    found = session.logits()
    assert {str(each.dtype) for each in jax.tree.leaves(session._state["cache"])} == {"bfloat16"}
    expected = np.stack([subject.next_logits(row) for row in prompts()])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_fewer_rows_go_on_alone(gemma3, monkeypatch):
    """With fewer rows on the device where that is compiled for, and with ended ones before."""
    monkeypatch.setattr(jax_rooms, "FEW_ROWS", 2)
    lengths = (9, 20, 3, 33, 1, 5, 12)
    whole = gemma3.generator.start(prompts(lengths), 12).greedy(12, [])
    session = gemma3.generator.start(prompts(lengths), 12)
    parts = [session.greedy(4, [])]
    chosen = np.array([5, 1])
    session.reorder(chosen)
    assert len(session._state["before"]) == 2
    rest = session.greedy(4, [])
    session.reorder(np.array([1]))
    found = [parts[0][1], rest[1], session.greedy(4, [])[0]]
    np.testing.assert_array_equal(np.concatenate(found), whole[1])
    np.testing.assert_array_equal(rest[0], whole[5, 4:8])
    with pytest.raises(ValueError, match="there are 1 rows, and 2 were asked for"):
        session.reorder(np.array([0, 0]))


def test_rows_that_are_left_over_do_not_keep_the_loop_going(gemma3):
    """The device still has rows for those that were dropped; they count as ended."""
    free = gemma3.generator.start(prompts(), NEW).greedy(NEW, [])
    stop = int(free[2][1])
    session = gemma3.generator.start(prompts(), NEW)
    session.reorder(np.array([2]))
    assert session.greedy(NEW, [stop]).shape[1] <= 2


def test_prompts_filled_in_parts_are_prompts_filled_at_once(gemma3, monkeypatch):
    rows = prompts((9, 70, 3, 33, 1, 65))
    whole = gemma3.generator.start(rows, 2)
    monkeypatch.setattr(jax_generate, "chunk_bytes", lambda: 1)
    generator = JaxGenerator(gemma3.causal_lm.backbone, FAMILIES["gemma3"], gemma3.lora)
    parts = generator.start(rows, 2)
    assert generator._tile_rows(128) == 1
    np.testing.assert_allclose(parts.logits(), whole.logits(), atol=1e-4)


def test_an_adapter_that_was_off_at_first():
    subject = Subject("gemma")
    with subject.lora.disabled():
        generator = JaxGenerator(subject.causal_lm.backbone, FAMILIES["gemma"], subject.lora)
        assert_next(subject, generator.start(prompts(), 1), prompts())
    assert_next(subject, generator.start(prompts(), 1), prompts())


def test_a_session_keeps_the_adapter_that_it_started_with(gemma3):
    before = gemma3.lora.tensors()
    expected = gemma3.next_logits([*prompts()[1], 7])
    session = gemma3.generator.start(prompts()[1:2], 2)
    gemma3.lora.assign({name: 2 * value for name, value in before.items()})
    session.advance(np.array([7]))
    found = session.logits()[0]
    other = gemma3.next_logits([*prompts()[1], 7])
    gemma3.lora.assign(before)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(found - other).max() > 0.1


def test_a_step_takes_its_cache_over(gemma3):
    """No second cache is made: what went in is given up for what comes out."""
    session = gemma3.generator.start(prompts(), NEW)
    for go_on in (lambda: session.greedy(2, []), session.logits):
        before = jax.tree.leaves(session._state["cache"])
        go_on()
        assert all(each.is_deleted() for each in before)


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
def test_steps_need_no_memory_like_a_cache(family):
    """Copies that XLA makes of it do not show in what comes out. With one head, and two."""
    subject = Subject(family)
    session = subject.generator.start(prompts(), 4000)
    session.greedy(1, [])
    cache = sum(each.nbytes for each in jax.tree.leaves(session._state["cache"]))
    lowered = subject.generator._compiled["greedy"].lower(
        [variable.value for variable in subject.generator._variables],
        session._state,
        session._adapters,
        session._firsts,
        np.int32(1),
        np.int32(1),
        np.zeros(4, np.int32),
        room=rounded(4001),
    )
    assert lowered.compile().memory_analysis().temp_size_in_bytes < cache / 4


def test_batches_of_like_shape_compile_once(gemma3):
    """Other prompts, lengths, rows, stop ids and steps, within what they are rounded to."""

    def work(lengths: tuple[int, ...], steps: int, stops: list[int]) -> None:
        session = gemma3.generator.start(prompts(lengths), NEW)
        session.greedy(steps, stops)
        session.reorder(np.arange(len(lengths))[::-1])
        session.top(2)
        session.advance(np.full(len(lengths), 5))

    with compilations() as first:
        work((30, 1, 12, 9), 4, [1])
    assert first, "the listener heard nothing"
    with compilations() as again:
        work((64, 20, 3), NEW - 1, [1, 95])
        work((2, 2, 2, 2), 1, [])
    assert not again


def test_an_evaluation_compiles_a_handful(gemma3, monkeypatch):
    """Batches longest first, the last one short, rows that end: one program a kind of work."""
    monkeypatch.setattr(jax_rooms, "FEW_ROWS", 2)
    generator = JaxGenerator(gemma3.causal_lm.backbone, FAMILIES["gemma3"], gemma3.lora)
    lengths = [130, 99, 70, 64, 50, 40, 33, 30, 29, 28, 25, 20, 19, 11, 9, 8, 5, 4, 2]
    with compilations() as found:
        for start in range(0, len(lengths), 8):
            batch = prompts(tuple(lengths[start : start + 8]))
            session = generator.start(batch, NEW)
            session.greedy(4, [1])
            session.reorder(np.arange(len(batch) // 2))
            session.greedy(4, [1])
            session.reorder(np.array([0]))
            session.greedy(NEW - 8, [1])
    # Two greedy ones: with all rows, and with the few that are left.
    counts = {kind: sum(kind in name for name in found) for kind in PROGRAMS}
    assert counts == PROGRAMS
    # What is left: zeros of a shape a kind, and marking rows as ended.
    assert len(found) <= sum(PROGRAMS.values()) + 4


def test_rows_that_change_places_are_not_moved(gemma3):
    """Only which row is which changes: the cache stays where it is."""
    session = gemma3.generator.start(prompts(), 4)
    before = jax.tree.leaves(session._state["cache"])
    session.reorder(np.array([2, 0]))
    after = jax.tree.leaves(session._state["cache"])
    assert all(old is new for old, new in zip(before, after, strict=True))
    assert_next(gemma3, session, [prompts()[2], prompts()[0]])
    session.advance(np.array([7, 8]))
    session.reorder(np.array([1, 1]))
    assert_next(gemma3, session, [[*prompts()[0], 8]] * 2)


def test_what_a_token_sees():
    """Prompt slots 0 to 3, answers from slot 4; a row with 3 tokens below it, and one with 1."""
    before, unmoved = np.array([3, 1], np.int32), np.zeros(2, np.int32)
    everything = np.asarray(visible_slots(8, 4, 1, before, unmoved, None)).astype(int)
    assert everything.tolist() == [[1, 1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 0, 0]]
    # Three tokens back, itself included: one of the prompt, whichever slot that is in.
    window = np.asarray(visible_slots(8, 4, 1, before, unmoved, 3)).astype(int)
    assert window.tolist() == [[0, 0, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 0, 0]]


def test_what_a_token_sees_of_a_prompt_that_is_kept_in_part():
    """The last two tokens of 9 before the answers, and of a row with one token before them."""
    before = np.array([9, 1], np.int32)
    seen = np.asarray(visible_slots(5, 2, 0, before, before - 2, 3)).astype(int)
    assert seen.tolist() == [[1, 1, 1, 0, 0], [0, 1, 1, 0, 0]]
    further = np.asarray(visible_slots(5, 2, 1, before, before - 2, 3)).astype(int)
    assert further.tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0]]


def test_local_blocks_keep_their_window_of_long_prompts(gemma3):
    session = gemma3.generator.start(prompts((150, 3, WINDOW, WINDOW + 1)), 4)
    kinds = FAMILIES["gemma3"].block_kinds(FAMILIES["gemma3"].config_of(gemma3.causal_lm.backbone))
    slots = [keys.shape[1] for keys, _ in session._state["cache"]]
    assert {(kind, count) for kind, count in zip(kinds, slots, strict=True)} == {
        ("local", WINDOW + 64),
        ("global", 256),
    }


def test_entries_are_stored_in_their_rows_and_slots():
    """Two heads; the last entry belongs to no slot, and the others leave the rest as it was."""
    cache = np.arange(2 * 2 * 3, dtype=np.float32).reshape(2 * 2, 3, 1)
    entries = -1 - np.arange(3 * 2, dtype=np.float32).reshape(3, 2, 1)
    rows, slots = np.array([1, 0, 0]), np.array([2, 0, -1])
    found = np.asarray(stored(*map(jax.numpy.asarray, (cache, entries, rows, slots))))
    expected = cache.copy()
    expected[2:, 2], expected[:2, 0] = entries[0], entries[1]
    np.testing.assert_array_equal(found, expected)
