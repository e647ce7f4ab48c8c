"""A batch of prompts in a cache on JAX, and the steps from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STOP_STEP = 4
"""Stop ids are filled up to a multiple of this, so that their number compiles nothing."""

SHRUNK = 4
"""A session that has lost rows goes on with a quarter of them, and again a quarter: each
number of rows is compiled for."""

FEWEST_ROWS = 16
"""A step with fewer rows than this costs no less."""

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


def rounded_rows(rows: int) -> int:
    """The rows that are compiled for: powers of two up to 8, above it multiples of 8."""
    return 2 ** (rows - 1).bit_length() if rows <= 8 else -(-rows // 8) * 8


def shrunk_rows(now: int, needed: int) -> int:
    """The rows that a session of `now` rows goes on with where `needed` ones are left."""
    while now > FEWEST_ROWS and (fewer := rounded_rows(-(-now // SHRUNK))) >= needed:
        now = fewer
    return now


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
        self._rows = rows
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
        return np.asarray(answers)[: self._rows, :taken]

    def logits(self) -> np.ndarray:
        """Of the next token: float32 (rows, vocabulary)."""
        return np.asarray(self._after_pending())[: self._rows]

    def top(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k likeliest next tokens of each row, likeliest first.

        Returns:
            Tokens, int32 (rows, k), and their log-probabilities, float32 (rows, k).
        """
        tokens, found = _likeliest(self._after_pending(), k)
        return np.asarray(tokens)[: self._rows], np.asarray(found)[: self._rows]

    def advance(self, tokens: np.ndarray) -> None:
        """Append one token to each row: int (rows,)."""
        self._check(1)
        self._after_pending()
        pending = np.zeros(len(self._state["before"]), np.int32)
        pending[: self._rows] = tokens
        self._state = self._state | {"pending": pending}
        self._moved(1)

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the state of row rows[i]: int, not longer than the rows.

        Where it is shorter, the session has that many rows from then on.
        """
        if len(rows) > self._rows:
            raise ValueError(f"there are {self._rows} rows, and {len(rows)} were asked for")
        if np.array_equal(rows, np.arange(self._rows)):
            return
        self._rows = len(rows)
        sources = np.zeros(shrunk_rows(len(self._state["before"]), self._rows), np.int32)
        sources[: self._rows] = rows
        self._state = self._call("reorder", self._state, sources, np.int32(self._rows))
        if self._next is not None:
            self._next = self._next[sources]

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
