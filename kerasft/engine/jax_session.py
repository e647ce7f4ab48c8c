"""A batch of prompts in a cache on JAX, and the steps from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kerasft.engine.jax_rooms import shrunk_rows

STOP_STEP = 4
"""Stop ids are filled up to a multiple of this, so that their number compiles nothing."""

NOTHING = -1
"""No token: in a row that has ended, and among the stop ids."""

State = dict[str, Any]
"""What the device keeps of a session, with B rows:

- `cache`: see `jax_cache`.
- `pending`: (B,) int32, the last token of each row, which is not in the cache.
- `before`: (B,) int32, tokens of each prompt without its last.
- `shifts`: by kind of block (B,) int32: see `jax_cache`.
- `ended`: (B,) bool, rows that gave a stop id, and those that fill the batch up.
"""


class JaxSession:
    """See `kerasft.engine.session.Session`; made by `JaxGenerator.start`.

    Methods that take tokens raise ValueError where more are asked for than the start made
    room for.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        state: State,
        adapters: Any,
        rows: int,
        firsts: dict[str, np.int32],
        max_new_tokens: int,
        room: int,
    ) -> None:
        self._call = call
        self._state = state
        self._adapters = adapters
        # Where on the device each row is.
        self._at = np.arange(rows)
        self._firsts = firsts
        self._left = max_new_tokens
        self._room = room
        self._step = 0
        # Of the pending tokens, once they were run.
        self._next: jax.Array | None = None

    def greedy(self, steps: int, stop_ids: Sequence[int]) -> np.ndarray:
        """Continue with the likeliest tokens, on the device, until all rows have ended.

        Args:
            steps: tokens a row at the most.
            stop_ids: a row ends with any of these.

        Returns:
            int32 (rows, taken), taken ≤ steps: -1 after a row's stop id, also in later calls.
        """
        self._check(steps)
        count = max(1, -(-len(stop_ids) // STOP_STEP)) * STOP_STEP
        stops = np.full(count, NOTHING, np.int32)
        stops[: len(stop_ids)] = list(stop_ids)
        self._state, answers, taken = self._call(
            "greedy",
            self._state,
            self._adapters,
            self._firsts,
            np.int32(self._step),
            np.int32(steps),
            stops,
            room=self._room,
        )
        taken = int(taken)
        if taken:
            self._moved(taken)
        return np.asarray(answers)[self._at, :taken]

    def logits(self) -> np.ndarray:
        """Of the next token: float32 (rows, vocabulary)."""
        return np.asarray(self._after_pending())[self._at]

    def top(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k likeliest next tokens of each row, likeliest first.

        Returns:
            Tokens, int32 (rows, k), and their log-probabilities, float32 (rows, k).
        """
        tokens, found = _likeliest(self._after_pending(), k)
        return np.asarray(tokens)[self._at], np.asarray(found)[self._at]

    def advance(self, tokens: np.ndarray) -> None:
        """Append one token to each row: int (rows,)."""
        self._check(1)
        self._after_pending()
        pending = np.zeros(len(self._state["before"]), np.int32)
        pending[self._at] = tokens
        self._state = self._state | {"pending": pending}
        self._moved(1)

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the state of row rows[i]: int, not longer than the rows.

        Where it is shorter, the session has that many rows from then on.
        """
        if len(rows) > len(self._at):
            raise ValueError(f"there are {len(self._at)} rows, and {len(rows)} were asked for")
        sources, now = self._at[rows], len(self._state["before"])
        kept = np.bincount(sources, minlength=now)
        run = shrunk_rows(now, len(rows))
        if run == now and kept.max() <= 1:
            # Nothing has to be moved; rows that nobody asks for any more have ended.
            if len(rows) < len(self._at):
                self._state = self._state | {"ended": self._state["ended"] | (kept == 0)}
            self._at = sources
            return
        moved = np.zeros(run, np.int32)
        moved[: len(rows)] = sources
        self._state = self._call("reorder", self._state, moved, np.int32(len(rows)))
        if self._next is not None:
            self._next = self._next[moved]
        self._at = np.arange(len(rows))

    def _check(self, tokens: int) -> None:
        if tokens > self._left:
            raise ValueError(f"{tokens} more tokens were asked for, there is room for {self._left}")

    def _moved(self, tokens: int) -> None:
        self._step += tokens
        self._left -= tokens
        self._next = None

    def _after_pending(self) -> jax.Array:
        """Logits on the device; the pending tokens are run where they were not."""
        if self._next is None:
            self._state, self._next = self._call(
                "logits", self._state, self._adapters, self._firsts, np.int32(self._step)
            )
        return self._next


@partial(jax.jit, static_argnums=1)
def _likeliest(logits: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    found, tokens = jax.lax.top_k(jax.nn.log_softmax(logits, axis=-1), k)
    return tokens.astype(jnp.int32), found
