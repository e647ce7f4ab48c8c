"""Decoding with a cache, held against full forward passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerasft.engine import decode
from kerasft.engine.decode import Decoder, Sampling, sample
from kerasft.models.families import FAMILIES
from tests.engine.tuning import with_lora
from tests.tiny import VOCABULARY, WINDOW, keras_logits, tiny_causal_lm

pytestmark = pytest.mark.keras

NEW = 2 * WINDOW
WIDTH = 72
"""Tokens that rows are filled up to for a full pass."""
LENGTHS = (3 * WINDOW, 1, WINDOW - 1)


class Subject:
    """A tiny model with an adapter on it, and its decoder."""

    def __init__(self, family: str) -> None:
        self.causal_lm = tiny_causal_lm(family)
        self.lora = with_lora(self.causal_lm, family)
        self.decoder = Decoder(self.causal_lm, FAMILIES[family], self.lora)

    def greedy(self, prompts: list[list[int]], new: int = NEW, **options: Any) -> list[list[int]]:
        options = {"stop_ids": [], **options}
        return self.decoder.generate(prompts, max_new_tokens=new, **options)


@pytest.fixture(scope="module")
def gemma() -> Subject:
    return Subject("gemma")


def prompts(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    random = np.random.default_rng(11)
    return [[2, *random.integers(4, VOCABULARY, length - 1).tolist()] for length in lengths]


def assert_greedy(causal_lm: Any, given: list[list[int]], answers: list[list[int]]) -> None:
    """Each token is the argmax of a full forward pass over everything before it.

    One pass over all of it has them all, since a position does not see later ones: for the
    same reason the padding on the right counts for nothing.
    """
    rows = np.zeros((len(given), WIDTH), np.int32)
    for row, prompt, answer in zip(rows, given, answers, strict=True):
        row[: len(prompt) + len(answer)] = prompt + answer
    for logits, prompt, answer in zip(keras_logits(causal_lm, rows), given, answers, strict=True):
        for step, token in enumerate(answer):
            found = logits[len(prompt) + step - 1]
            assert found[token] >= found.max() - 1e-4, f"step {step}: {token}"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_greedy_is_the_argmax_of_full_passes(family):
    """Rows of mixed lengths, from one token to past the sliding window."""
    subject, given = Subject(family), prompts()
    together = subject.greedy(given)
    assert [len(answer) for answer in together] == [NEW] * len(given)
    assert len({token for answer in together for token in answer}) > 3
    assert_greedy(subject.causal_lm, given, together)


def test_rows_together_are_rows_one_by_one(gemma):
    given = prompts()
    assert gemma.greedy(given) == [gemma.greedy([prompt])[0] for prompt in given]


def test_the_adapter_is_switched_off_and_on(gemma):
    """It is a Python flag: neither state may be answered with the other's function."""
    given = prompts()
    adapted = gemma.greedy(given)
    with gemma.lora.disabled():
        base = gemma.greedy(given)
        assert_greedy(gemma.causal_lm, given, base)
    assert base != adapted
    assert gemma.greedy(given) == adapted


def test_prompt_and_answer_may_pass_a_compiled_length(gemma):
    given = prompts((61, 64, 65))
    answers = gemma.greedy(given, new=6)
    assert [len(answer) for answer in answers] == [6] * 3
    assert_greedy(gemma.causal_lm, given, answers)


def test_sequence_logits_are_the_models(gemma):
    tokens = np.array(prompts((WIDTH,) * 3), np.int32)
    found = gemma.decoder.sequence_logits(tokens)
    np.testing.assert_allclose(found, keras_logits(gemma.causal_lm, tokens), atol=1e-5)
    assert found.dtype == np.float32


def test_new_adapter_values_are_seen(gemma):
    given, before = prompts(), gemma.lora.tensors()
    answer = gemma.greedy(given)
    gemma.lora.assign({name: -value for name, value in before.items()} | _doubled_b(before))
    other = gemma.greedy(given)
    assert_greedy(gemma.causal_lm, given, other)
    gemma.lora.assign(before)
    assert other != answer and gemma.greedy(given) == answer


def _doubled_b(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: 2 * value for name, value in tensors.items() if name.endswith("/b")}


def test_a_row_ends_before_its_stop_token(gemma):
    given = prompts()
    free = gemma.greedy(given)
    stop = free[0][5]
    stopped = gemma.greedy(given, stop_ids=[stop, VOCABULARY - 1])
    for answer, whole in zip(stopped, free, strict=True):
        ends = [i for i, token in enumerate(whole) if token in (stop, VOCABULARY - 1)]
        assert answer == whole[: ends[0] if ends else None]
    assert len(stopped[0]) <= 5


def test_a_stop_token_inside_a_prompt_stops_nothing(gemma):
    given = prompts()
    answer = gemma.greedy(given)
    unused = next(i for i in range(4, VOCABULARY) if all(i not in row for row in answer))
    given[0][10] = given[2][3] = unused
    answer = gemma.greedy(given)
    if all(unused not in row for row in answer):
        assert gemma.greedy(given, stop_ids=[unused]) == answer


@pytest.mark.parametrize("new", [0, 1, 3])
def test_new_tokens_are_counted_exactly(gemma, new):
    assert [len(answer) for answer in gemma.greedy(prompts(), new=new)] == [new] * len(LENGTHS)


def test_the_stream_is_the_result(gemma):
    given = prompts()
    free = gemma.greedy(given)
    steps: list[list[int | None]] = []
    stop = free[1][4]
    answers = gemma.greedy(given, stop_ids=[stop], on_tokens=steps.append)
    streamed = [[step[row] for step in steps if step[row] is not None] for row in range(3)]
    assert streamed == answers
    assert all(token is not None for token in steps[0]), "a row waits for another's prompt"


def test_it_ends_when_every_row_has_ended(gemma):
    (free,) = gemma.greedy(prompts((5,)))
    steps: list[list[int | None]] = []
    gemma.greedy(prompts((5,)), stop_ids=[free[0]], on_tokens=steps.append)
    assert steps == [[None]]


def test_rows_that_have_ended_are_dropped_and_the_others_go_on(gemma, monkeypatch):
    """Rows end one after the other, so that the batch shrinks more than once."""
    given = prompts((9, 1, 20, 5, 13, 2))
    free = gemma.greedy(given, new=40)
    stops = sorted({answer[step] for answer, step in zip(free, (3, 0, 1, 12), strict=False)})
    expected = [_until(answer, stops) for answer in free]
    left: list[int] = []
    generator = type(gemma.decoder._generator)
    start = generator.start

    def watched(*arguments: Any) -> Any:
        session = start(*arguments)
        reorder = session.reorder
        session.reorder = lambda rows: (left.append(len(rows)), reorder(rows))
        return session

    monkeypatch.setattr(generator, "start", watched)
    monkeypatch.setattr(decode, "LOOK_EVERY", 2)
    assert gemma.greedy(given, new=40, stop_ids=stops) == expected
    assert left == sorted(left, reverse=True) and 0 < left[-1] <= len(given) // 2
    steps: list[list[int | None]] = []
    gemma.greedy(given, new=40, stop_ids=stops, on_tokens=steps.append)
    streamed = [[step[row] for step in steps if step[row] is not None] for row in range(6)]
    assert streamed == expected
    drawn = Sampling(temperature=1.5, top_k=1)
    assert gemma.greedy(given, new=40, stop_ids=stops, sampling=drawn) == expected


def _until(answer: list[int], stops: list[int]) -> list[int]:
    ends = [place for place, token in enumerate(answer) if token in stops]
    return answer[: ends[0]] if ends else answer


def test_drawing_is_reproducible_by_its_seed(gemma):
    given = prompts()

    def drawn(seed: int) -> list[list[int]]:
        return gemma.greedy(given, sampling=Sampling(temperature=1.5, seed=seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1) != gemma.greedy(given)


def test_one_of_the_likeliest_is_greedy(gemma):
    given = prompts()
    answer = gemma.greedy(given)
    assert gemma.greedy(given, sampling=Sampling(temperature=2.0, top_k=1)) == answer
    assert gemma.greedy(given, sampling=Sampling(temperature=0.7, top_p=1e-9)) == answer


LOGITS = np.log(np.array([[0.1, 0.5, 0.05, 0.35]], np.float32))


def draws(sampling: Sampling, logits: np.ndarray = LOGITS, count: int = 4000) -> np.ndarray:
    """How often each token is drawn, as a share."""
    random = np.random.default_rng(0)
    found = sample(np.repeat(logits, count, axis=0), sampling, random)
    assert found.shape == (count,) and found.dtype == np.int32
    return np.bincount(found, minlength=logits.shape[1]) / count


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0), [0.1, 0.5, 0.05, 0.35]),
        (Sampling(temperature=1.0, top_k=2), [0, 0.5 / 0.85, 0, 0.35 / 0.85]),
        (Sampling(temperature=1.0, top_k=99), [0.1, 0.5, 0.05, 0.35]),
        # The smallest set that reaches top_p: 0.5 alone, then 0.5 + 0.35, then + 0.1.
        (Sampling(temperature=1.0, top_p=0.49), [0, 1, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.51), [0, 0.5 / 0.85, 0, 0.35 / 0.85]),
        (Sampling(temperature=1.0, top_p=0.84), [0, 0.5 / 0.85, 0, 0.35 / 0.85]),
        (Sampling(temperature=1.0, top_p=0.86), [0.1 / 0.95, 0.5 / 0.95, 0, 0.35 / 0.95]),
        # top_k first, then top_p over what is left: 0.5 / 0.85 = 0.588.
        (Sampling(temperature=1.0, top_k=2, top_p=0.55), [0, 1, 0, 0]),
        (Sampling(temperature=0.5), np.square([0.1, 0.5, 0.05, 0.35]) / 0.385),
    ],
)
def test_tokens_are_drawn_from_what_is_kept(sampling, expected):
    np.testing.assert_allclose(draws(sampling), expected, atol=0.03)
    assert ((draws(sampling) > 0) == (np.array(expected) > 0)).all()


def test_large_logits_do_not_overflow():
    far = np.array([[1e4, 1e4, -1e4]], np.float32)
    np.testing.assert_allclose(draws(Sampling(temperature=0.1), far), [0.5, 0.5, 0], atol=0.03)


def test_rows_are_drawn_apart():
    logits = np.log(np.array([[1, 1e-9, 1e-9], [1e-9, 1e-9, 1]], np.float32))
    found = sample(logits, Sampling(temperature=1.0), np.random.default_rng(0))
    assert found.tolist() == [0, 2]


@pytest.mark.real_weights
@pytest.mark.slow
def test_the_real_gemma_says_what_full_passes_say():
    """Prompts of unlike lengths in one batch, in float32."""
    from kerasft.models.sources import load_base

    base = load_base("gemma3-270m", dtype="float32")
    texts = ["The capital of France is", "1, 2, 3, 4,", "SELECT name FROM singer WHERE age >"]
    given = [[base.tokenizer.bos_id, *base.tokenizer.encode(text)] for text in texts]
    decoder = Decoder(base.causal_lm, base.family, None)
    answers = decoder.generate(given, max_new_tokens=6, stop_ids=[])
    for prompt, answer in zip(given, answers, strict=True):
        (logits,) = decoder.sequence_logits(np.asarray([prompt + answer], np.int32))
        for step, token in enumerate(answer):
            found = logits[len(prompt) + step - 1]
            assert found[token] >= found.max() - 1e-3
    assert base.tokenizer.decode(answers[1]).strip().startswith("5, 6")
