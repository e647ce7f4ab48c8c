"""Sessions of the backend's generator, held against full forward passes."""

from __future__ import annotations

import numpy as np
import pytest

from kerasft.models.families import FAMILIES
from tests.engine.sessions import NEW, Subject, assert_next, prompts
from tests.tiny import VOCABULARY, WINDOW

pytestmark = pytest.mark.keras

STEPS = NEW + 9
"""More than the steps that torch takes between two looks."""

STOPS = 9
"""More stop ids than torch and JAX have room for without another shape."""


@pytest.fixture(scope="module")
def gemma3() -> Subject:
    """Query and key norms, local and global blocks, shared key-value heads."""
    return Subject("gemma3")


@pytest.mark.parametrize(
    ("family", "layout"), [*((family, "keras") for family in FAMILIES), ("gemma3", "peft")]
)
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
    whole = gemma3.generator.start(prompts(), STEPS).greedy(STEPS, [])
    assert whole.shape[1] == STEPS
    session = gemma3.generator.start(prompts(), STEPS)
    parts = [session.greedy(3, [])]
    session.logits()
    parts += [session.greedy(0, []), session.greedy(STEPS - 4, [])]
    assert (session.logits().argmax(axis=-1) == whole[:, -1]).all()
    parts.append(session.greedy(1, []))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_rows_end_with_their_stop_ids_and_the_last_one_ends_the_steps(gemma3):
    free = gemma3.generator.start(prompts(), NEW).greedy(NEW, [])
    stops = sorted({int(row[step]) for row, step in zip(free, (2, 5, 9, 0), strict=True)})
    session = gemma3.generator.start(prompts(), NEW)
    found = session.greedy(NEW, stops)
    ends = [int(np.isin(row, stops).argmax()) for row in free]
    assert found.shape[1] == max(ends) + 1 < NEW
    for row, whole, end in zip(found, free, ends, strict=True):
        np.testing.assert_array_equal(row[: end + 1], whole[: end + 1])
        assert (row[end + 1 :] == -1).all()
    # Ended rows stay so, whatever stops are asked for later.
    assert session.greedy(3, []).shape == (len(found), 0)


def test_many_stop_ids(gemma3):
    free = gemma3.generator.start(prompts((5,)), 4).greedy(4, [])[0]
    others = [token for token in range(4, VOCABULARY) if token != free[0]][:STOPS]
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


def test_the_adapter_is_switched_off_and_on(gemma3):
    adapted = gemma3.generator.start(prompts(), 1).logits()
    with gemma3.lora.disabled():
        session = gemma3.generator.start(prompts(), 1)
        assert_next(gemma3, session, prompts())
        assert np.abs(session.logits() - adapted).max() > 0.1
    np.testing.assert_array_equal(gemma3.generator.start(prompts(), 1).logits(), adapted)


def test_more_tokens_than_there_is_room_for_are_refused(gemma3):
    session = gemma3.generator.start(prompts(), 3)
    with pytest.raises(ValueError, match="4 more tokens were asked for, there is room for 3"):
        session.greedy(4, [])
    session.advance(np.array([5, 6, 7, 8]))
    assert session.greedy(2, []).shape == (4, 2)
    assert session.logits().shape == (4, VOCABULARY)
    with pytest.raises(ValueError, match="room for 0"):
        session.advance(np.array([5, 6, 7, 8]))
