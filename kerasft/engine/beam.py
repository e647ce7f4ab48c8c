"""Beam search over a decoding session."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasft.engine.session import Session

Candidate = tuple[list[int], float]
"""Token ids without the stop token, and the logarithm of the probability of them all."""


@dataclass
class _Search:
    """The search for one prompt.

    Attributes:
        live: the likeliest beginnings, at most `width`, in the order of the session's rows.
        ended: answers that are whole: tokens → log-probability.
    """

    live: list[Candidate]
    ended: dict[tuple[int, ...], float]

    def is_done(self, width: int) -> bool:
        """Whether no beginning can still become one of the `width` best.

        A probability only falls as tokens are added.
        """
        if not self.live:
            return True
        whole = sorted(self.ended.values(), reverse=True)
        return len(whole) >= width and self.live[0][1] <= whole[width - 1]


def beam_search(
    session: Session,
    prompts: int,
    *,
    width: int,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    vocabulary: int,
) -> list[list[Candidate]]:
    """The likeliest answers to each prompt that a beam finds, best first.

    An answer's score is the logarithm of its probability with the stop token that ends
    it, summed over the stop tokens among the likeliest of their step. An answer that
    `max_new_tokens` cut off has the probability of its tokens. Scores are not divided by
    lengths.

    Args:
        session: of each prompt `width` times in a row.
        prompts: how many.
        width: beginnings that are kept, and answers that are given at the most.
        max_new_tokens: tokens an answer at the most.
        stop_ids: tokens that end an answer.
        vocabulary: tokens that there are.

    Returns:
        For each prompt at most `width` answers.
    """
    stops = set(stop_ids)
    # So many that `width` of them end nothing.
    count = min(width + len(stops), vocabulary)
    searches = [_Search([([], 0.0)], {}) for _ in range(prompts)]
    for step in range(max_new_tokens):
        tokens, scores = session.top(count)
        parents = np.arange(prompts * width)
        chosen = np.zeros(prompts * width, np.int32)
        for index, search in enumerate(searches):
            if search.is_done(width):
                search.live = []
                continue
            first = index * width
            found = _extend(search, tokens[first:], scores[first:], stops, width)
            search.live = [(ids, score) for _, ids, score in found]
            for place, (parent, ids, _) in enumerate(found):
                parents[first + place] = first + parent
                chosen[first + place] = ids[-1]
        if all(search.is_done(width) for search in searches):
            break
        if step + 1 < max_new_tokens:
            session.reorder(parents)
            session.advance(chosen)
    return [_best(search, width) for search in searches]


def _extend(
    search: _Search, tokens: np.ndarray, scores: np.ndarray, stops: set[int], width: int
) -> list[tuple[int, list[int], float]]:
    """The likeliest beginnings one token longer: (which they extend, tokens, score).

    What ends is put with the answers where it is among the `width` likeliest steps, so that
    a beam of one is greedy.
    """
    steps: list[tuple[int, list[int] | None, float]] = []
    for parent, (ids, score) in enumerate(search.live):
        end = -np.inf
        for token, more in zip(tokens[parent].tolist(), scores[parent].tolist(), strict=True):
            if token in stops:
                end = np.logaddexp(end, score + more)
            else:
                steps.append((parent, [*ids, token], score + more))
        if end > -np.inf:
            steps.append((parent, None, float(end)))
    steps.sort(key=lambda each: -each[2])
    for parent, grown, score in steps[:width]:
        if grown is None:
            search.ended[tuple(search.live[parent][0])] = score
    return [(parent, ids, score) for parent, ids, score in steps if ids is not None][:width]


def _best(search: _Search, width: int) -> list[Candidate]:
    found = [*((list(ids), score) for ids, score in search.ended.items()), *search.live]
    return sorted(found, key=lambda each: -each[1])[:width]
