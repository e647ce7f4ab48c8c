"""What decoding asks of a backend: prompts in a cache, and steps from there."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Session(Protocol):
    """A batch of prompts in a cache, with what was generated after each.

    Every row has its own position. No more than the `max_new_tokens` of the start can
    be added to a row.
    """

    def greedy(self, steps: int, stop_ids: Sequence[int]) -> np.ndarray:
        """Continue with the likeliest tokens until all rows have ended.

        Args:
            steps: tokens a row at the most.
            stop_ids: a row ends with any of these.

        Returns:
            int32 (rows, taken), taken ≤ steps. A row gives its stop id and -1 from then
            on, also in later calls.
        """

    def logits(self) -> np.ndarray:
        """Of the next token: float32 (rows, vocabulary)."""

    def top(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k likeliest next tokens, likeliest first.

        Returns:
            int32 (rows, k), and their log-probabilities, float32 (rows, k).
        """

    def advance(self, tokens: np.ndarray) -> None:
        """Append one token to each row: int (rows,)."""

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the state of row rows[i]: int, not longer than the rows.

        Where it is shorter, the session has that many rows from then on.
        """


class Generator(Protocol):
    """Starts sessions on a live model; one session at a time."""

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Session:
        """Put prompts into a cache; an older session cannot go on.

        Args:
            prompts: token ids a row; none empty.
            max_new_tokens: how many tokens may follow each.
        """
