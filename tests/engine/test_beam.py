"""Beam search, against all answers that there are, and on real sessions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kerasft.engine.beam import Candidate, beam_search
from tests.tiny import VOCABULARY

pytestmark = pytest.mark.keras

WORDS = 4
STOPS = (2, 3)


class Chain:
    """A session in which the next token depends on the last two; prompts are numbers."""

    def __init__(self, prompts: list[int], width: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        logits = 2 * random.standard_normal((len(prompts) + WORDS, WORDS + 1, WORDS))
        self.table = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        # Before the first token: the prompt, and a mark that nothing was said.
        self.rows = [(WORDS + prompt, WORDS) for prompt in prompts for _ in range(width)]

    def top(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = np.stack([self.table[row] for row in self.rows])
        tokens = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
        return tokens.astype(np.int32), np.take_along_axis(scores, tokens, -1).astype(np.float32)

    def advance(self, tokens: np.ndarray) -> None:
        self.rows = [
            (last if last < WORDS else before, int(token))
            for (before, last), token in zip(self.rows, tokens, strict=True)
        ]

    def reorder(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


def every_answer(chain: Chain, prompt: int, longest: int) -> list[Candidate]:
    """All answers to a prompt with their probabilities, likeliest first."""

    def score(tokens: tuple[int, ...]) -> float:
        before, last, total = WORDS + prompt, WORDS, 0.0
        for token in tokens:
            total += chain.table[before, last, token]
            before, last = (last if last < WORDS else before), token
        return total

    going = [token for token in range(WORDS) if token not in STOPS]
    found = [(list(ids), score(ids)) for ids in product(going, repeat=longest)]
    for length in range(longest):
        for ids in product(going, repeat=length):
            ends = [score((*ids, stop)) for stop in STOPS]
            found.append((list(ids), float(np.logaddexp.reduce(ends))))
    return sorted(found, key=lambda each: -each[1])


def assert_same(found: list[Candidate], expected: list[Candidate]) -> None:
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-5)


@pytest.mark.parametrize("longest", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_all_answers_in_their_order(seed, longest):
    """As wide as there are steps to choose from, nothing is lost, for two prompts at once."""
    width = 3**longest
    chain = Chain([0, 1], width, seed)
    found = beam_search(
        chain, 2, width=width, max_new_tokens=longest, stop_ids=STOPS, vocabulary=WORDS
    )
    whole = Chain([0, 1], width, seed)
    for prompt in (0, 1):
        assert_same(found[prompt], every_answer(whole, prompt, longest))


def test_probabilities_of_all_answers_add_up_to_one():
    found = every_answer(Chain([0], 1), 0, 3)
    assert np.exp([score for _, score in found]).sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_gives_what_it_keeps_the_best_first(seed):
    """Each answer's score is its own probability, and none is given twice."""
    width = 3
    chain = Chain([0], width, seed)
    (found,) = beam_search(
        chain, 1, width=width, max_new_tokens=5, stop_ids=STOPS, vocabulary=WORDS
    )
    scores = {tuple(ids): score for ids, score in every_answer(Chain([0], 1, seed), 0, 5)}
    assert len(found) == len({tuple(ids) for ids, _ in found}) <= width
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    for ids, score in found:
        assert score <= scores[tuple(ids)] + 1e-5
        assert score == pytest.approx(scores[tuple(ids)], abs=1e-5)


def test_it_stops_when_no_beginning_can_win(monkeypatch):
    chain, steps = Chain([0], 1), []
    chain.table[:] = np.log([0.04, 0.03, 0.85, 0.08])
    monkeypatch.setattr(chain, "advance", steps.append)
    (found,) = beam_search(chain, 1, width=1, max_new_tokens=9, stop_ids=STOPS, vocabulary=WORDS)
    assert found == [([], pytest.approx(np.log(0.93)))] and not steps


@pytest.fixture(scope="module")
def decoder():
    from kerasft.engine.decode import Decoder
    from kerasft.models.families import FAMILIES
    from tests.tiny import tiny_causal_lm

    return Decoder(tiny_causal_lm("gemma3"), FAMILIES["gemma3"], None)


def prompts() -> list[list[int]]:
    random = np.random.default_rng(11)
    return [[2, *random.integers(4, VOCABULARY, length).tolist()] for length in (20, 3, 9)]


def test_a_beam_of_one_is_greedy(decoder):
    stops = [7, 8, 9]
    greedy = decoder.generate(prompts(), max_new_tokens=12, stop_ids=stops)
    found = decoder.candidates(prompts(), width=1, max_new_tokens=12, stop_ids=stops)
    assert [answers[0][0] for answers in found] == greedy


def test_scores_are_those_of_a_full_pass(decoder):
    """Beams change places in the cache; their scores are still their own."""
    found = decoder.candidates(prompts(), width=4, max_new_tokens=6, stop_ids=[])
    for prompt, answers in zip(prompts(), found, strict=True):
        assert len(answers) == 4
        for ids, score in answers:
            row = np.asarray([prompt + ids], np.int32)
            logits = decoder.sequence_logits(row)[0].astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            places = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
            expected = sum(logs[place, token] for place, token in zip(places, ids, strict=True))
            assert score == pytest.approx(expected, abs=1e-3)


def test_prompts_together_are_prompts_apart(decoder):
    settings = {"width": 3, "max_new_tokens": 8, "stop_ids": [7]}
    together = decoder.candidates(prompts(), **settings)
    for prompt, answers in zip(prompts(), together, strict=True):
        (alone,) = decoder.candidates([prompt], **settings)
        assert_same(answers, alone)


def test_no_prompts_have_no_answers(decoder):
    assert decoder.candidates([], width=2, max_new_tokens=3, stop_ids=[]) == []
