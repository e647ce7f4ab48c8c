"""A batch of prompts in a cache on torch, and the steps from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from kerasft.engine.torch_generate_cache import Cache
from kerasft.errors import RunError

if TYPE_CHECKING:
    from kerasft.engine.torch_generate import TorchGenerator

BLOCK = 16
"""Steps on a GPU between two looks of the host at which rows have ended."""

STOPS = 8
"""Stop ids are filled up to a multiple of this: recorded steps read so many."""

NOTHING = -1
"""No token: in a row that has ended, and among the stop ids."""

WARM_UP = 2
"""Times that a step runs before it is recorded: the compiler and the libraries set up
what they need in the first ones."""


def rounded_rows(rows: int) -> int:
    """The rows that steps are recorded for: powers of two to 64, then multiples of 64."""
    return 1 << (rows - 1).bit_length() if rows <= 64 else -(-rows // 64) * 64


class Memory:
    """What a session works in; recorded steps read and write it where it lies.

    Args:
        cache: of keys and values, for so many rows.
        device: where it is.

    Attributes:
        tokens: (rows,) int64, the pending token of each row: chosen, not yet read.
        positions: (rows,) int64, its position.
        ended: (rows,) bool, rows that gave a stop id, and those that fill the batch up.
        block: (BLOCK, rows) int32, tokens of the newest steps.
        column: (1,) int64, the step that comes next in it.
        recorded: steps as CUDA graphs, and what each gives.
    """

    def __init__(self, cache: Cache, device: torch.device) -> None:
        self.cache = cache
        rows = cache.rows
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions = torch.zeros_like(self.tokens)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.block = torch.zeros((BLOCK, rows), dtype=torch.int32, device=device)
        self.column = torch.zeros(1, dtype=torch.int64, device=device)
        self.recorded: dict[tuple, tuple[torch.cuda.CUDAGraph, torch.Tensor | None]] = {}
        self._stops: dict[int, torch.Tensor] = {}

    def stops(self, ids: Sequence[int]) -> torch.Tensor:
        """Stop ids on the device, in the one place for so many."""
        size = max(1, -(-len(ids) // STOPS)) * STOPS
        if size not in self._stops:
            self._stops[size] = torch.empty(size, dtype=torch.int64, device=self.tokens.device)
        padded = np.full(size, NOTHING, np.int64)
        padded[: len(ids)] = list(ids)
        self._stops[size].copy_(torch.from_numpy(padded))
        return self._stops[size]

    @property
    def state(self) -> tuple[torch.Tensor, ...]:
        """What a step changes beside the cache."""
        return self.tokens, self.positions, self.ended, self.column


class TorchSession:
    """See `kerasft.engine.session.Session`; made by `TorchGenerator.start`.

    Every method raises RunError where a newer session has taken its memory, and
    ValueError where more tokens are asked for than the start made room for.
    """

    def __init__(
        self,
        generator: TorchGenerator,
        memory: Memory,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> None:
        self._generator = generator
        self._number = generator.started
        self._memory = memory
        self._rows = len(prompts)
        self._longest = max(len(prompt) for prompt in prompts)
        self._left = max_new_tokens
        self._next: torch.Tensor | None = None
        run = self._run_rows
        # Rows that fill the batch up are one token long and have ended.
        tokens, positions = np.zeros(run, np.int64), np.zeros(run, np.int64)
        tokens[: self._rows] = [prompt[-1] for prompt in prompts]
        positions[: self._rows] = [len(prompt) - 1 for prompt in prompts]
        memory.tokens[:run].copy_(torch.from_numpy(tokens))
        memory.positions[:run].copy_(torch.from_numpy(positions))
        memory.ended[:run].copy_(torch.from_numpy(np.arange(run) >= self._rows))

    @torch.no_grad()
    def greedy(self, steps: int, stop_ids: Sequence[int]) -> np.ndarray:
        """Continue with the likeliest tokens until all rows have ended.

        Args:
            steps: tokens a row at the most.
            stop_ids: a row ends with any of these.

        Returns:
            int32 (rows, taken), taken ≤ steps. A row gives its stop id and -1 from then
            on, also in later calls.
        """
        self._check(steps)
        memory, stops = self._memory, self._memory.stops(stop_ids)
        blocks = [np.zeros((0, self._rows), np.int32)]
        while steps > 0:
            count = min(BLOCK, steps)
            memory.column.zero_()
            done = 0
            # A look costs nothing on a CPU, and on a GPU a wait.
            waits = memory.tokens.device.type == "cpu"
            while done < count and not (waits and memory.ended[: self._rows].all()):
                self._replayed(("greedy", len(stops)), lambda: self._greedy_step(stops))
                self._longest += 1
                done += 1
            block = memory.block[:done, : self._rows].cpu().numpy().copy()
            going = (block != NOTHING).any(axis=1)
            blocks.append(block[going])
            self._left -= len(blocks[-1])
            steps -= count
            if not going.all() or done < count:
                break
        self._next = None
        return np.concatenate(blocks).T

    def logits(self) -> np.ndarray:
        """Of the next token: float32 (rows, vocabulary)."""
        self._check(0)
        return self._after_pending().cpu().numpy()

    @torch.no_grad()
    def top(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k likeliest next tokens of each row, likeliest first.

        Returns:
            Tokens, int32 (rows, k), and their log-probabilities, float32 (rows, k).
        """
        self._check(0)
        found, tokens = self._after_pending().log_softmax(-1).topk(k)
        return tokens.int().cpu().numpy(), found.cpu().numpy()

    @torch.no_grad()
    def advance(self, tokens: np.ndarray) -> None:
        """Append one token to each row: int (rows,)."""
        self._check(1)
        self._after_pending()
        memory = self._memory
        memory.tokens[: self._rows].copy_(torch.from_numpy(np.asarray(tokens, np.int64)))
        memory.positions[: self._rows] += 1
        self._longest += 1
        self._left -= 1
        self._next = None

    @torch.no_grad()
    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the state of row rows[i]: int, not longer than the rows.

        Where it is shorter, the session has that many rows from then on.
        """
        self._check(0)
        if len(rows) > self._rows:
            raise ValueError(f"there are {self._rows} rows, and {len(rows)} were asked for")
        if np.array_equal(rows, np.arange(self._rows)):
            return
        memory, self._rows = self._memory, len(rows)
        run = self._run_rows
        sources = np.zeros(run, np.int64)
        sources[: self._rows] = rows
        moved = torch.from_numpy(sources).to(memory.tokens.device)
        memory.cache.take(moved)
        for each in (memory.tokens, memory.positions, memory.ended):
            each[:run] = each.index_select(0, moved)
        memory.ended[self._rows : run] = True
        if self._next is not None:
            self._next = self._next.index_select(0, moved[: self._rows])

    @property
    def _run_rows(self) -> int:
        """Rows of a step, those included that fill it up."""
        return rounded_rows(self._rows) if self._generator.captures else self._rows

    def _check(self, tokens: int) -> None:
        if self._generator.started != self._number:
            raise RunError(
                "these prompts are no longer in the cache: others were put there by a later start; "
                "start them again"
            )
        if tokens > self._left:
            raise ValueError(f"{tokens} more tokens were asked for, there is room for {self._left}")

    @torch.no_grad()
    def _after_pending(self) -> torch.Tensor:
        """Logits after the pending tokens, which are read where they were not: (rows, V)."""
        if self._next is None:
            found = self._replayed(("logits",), self._read)
            self._next = found[: self._rows]
        return self._next

    def _read(self) -> torch.Tensor:
        return self._generator.logits(self._hidden())

    def _hidden(self) -> torch.Tensor:
        # A recorded step serves all lengths; another reads no further than there is.
        longest = None if self._generator.captures else self._longest
        return self._generator.hidden(self._memory, self._run_rows, longest)

    def _greedy_step(self, stops: torch.Tensor) -> None:
        """Read the pending token of each row and choose the next."""
        memory, rows = self._memory, self._run_rows
        ended, tokens = memory.ended[:rows], memory.tokens[:rows]
        # A soft-cap keeps the order of the logits.
        chosen = self._generator.products_with_words(self._hidden()).argmax(-1)
        given = torch.where(ended, NOTHING, chosen).int()
        memory.block[:, :rows].index_copy_(0, memory.column, given[None])
        tokens.copy_(torch.where(ended, tokens, chosen))
        memory.positions[:rows].add_(~ended)
        ended.logical_or_((chosen[:, None] == stops).any(dim=1))
        memory.column.add_(1)

    def _replayed(
        self, what: tuple, step: Callable[[], torch.Tensor | None]
    ) -> torch.Tensor | None:
        """Run a step: from its recording where steps are recorded."""
        if not self._generator.captures:
            return step()
        memory = self._memory
        key = (*what, self._run_rows, self._generator.adapts)
        if key not in memory.recorded:
            memory.recorded[key] = self._record(step)
        graph, result = memory.recorded[key]
        graph.replay()
        return result

    def _record(
        self, step: Callable[[], torch.Tensor | None]
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor | None]:
        memory = self._memory
        before = [each.clone() for each in memory.state]
        for _ in range(WARM_UP):
            step()
            # The same step again: another one would overwrite what leaves a window.
            for each, value in zip(memory.state, before, strict=True):
                each.copy_(value)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(memory.recorded.values()))[0].pool() if memory.recorded else None
        with torch.cuda.graph(graph, pool=pool):
            result = step()
        return graph, result
