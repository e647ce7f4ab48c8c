"""Keys and values of what a session has read, and attention over them, on torch.

Local blocks keep no more than their window: a token's place is its position modulo the
room, so a new one overwrites the one that has just left the window. Then every block
attends over all that it keeps, and the number of tokens kept is the only mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kerasft.engine import torch_attention
from kerasft.models.architecture import Architecture


@dataclass(frozen=True)
class CachedAttention:
    """Attention of one new token a row, which is first put into the cache.

    Attributes:
        method: `flash` or `products`, as in `torch_attention`.
        scale: of the queries.
        soft_cap: of the logits, or None.
    """

    method: str
    scale: float
    soft_cap: float | None

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rows: tuple[torch.Tensor, ...],
    ) -> torch.Tensor:
        """(R, heads, h) from queries of that shape and keys and values (R, groups, h).

        Args:
            rows: the cache of the block, keys and values; row numbers and places (R,) to
                write to; and how far each row is visible, as `visible` gives it.
        """
        keys, values, numbers, places, *seen = rows
        store(self.method, keys, (numbers, places), key)
        store(self.method, values, (numbers, places), value)
        if self.method == "flash":
            lengths, queries, starts = seen
            return torch.ops.aten._flash_attention_forward(
                query,
                keys.flatten(0, 1),
                values.flatten(0, 1),
                queries,
                starts,
                1,
                keys.shape[1],
                0.0,
                False,
                False,
                scale=self.scale,
                seqused_k=lengths,
            )[0]
        (mask,) = seen
        grouped = (query * self.scale).view(len(query), keys.shape[1], -1, query.shape[2])
        logits = torch.matmul(grouped, keys.transpose(2, 3))
        if self.soft_cap:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        weights = logits.float().masked_fill(mask, float("-inf")).softmax(-1).to(values.dtype)
        return torch.matmul(weights, values).view_as(query)


@dataclass(frozen=True)
class FillingAttention:
    """Attention of whole prompts, whose keys and values are put into the cache.

    Attributes:
        inner: the training step's attention.
        method: of the cache.
    """

    inner: torch_attention.Attention
    method: str

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rows: tuple[torch.Tensor, ...],
    ) -> torch.Tensor:
        """(T, heads, h) from queries of that shape and keys and values (T, groups, h).

        Args:
            rows: the cache of the block; which tokens are kept, and the row and place of
                each; what the inner attention reads.
        """
        keys, values, kept, numbers, places, *inner = rows
        store(self.method, keys, (numbers, places), key.index_select(0, kept))
        store(self.method, values, (numbers, places), value.index_select(0, kept))
        return self.inner(query, key, value, tuple(inner))


def method_of(architecture: Architecture, device: torch.device, dtype: torch.dtype) -> str:
    """How a cache is laid out and read on a device."""
    # Any length that is not short: short rows are a matter of whole prompts.
    chosen = torch_attention.choose(architecture, "global", 2**20, device, dtype)
    return "flash" if chosen.method == "flash" else "products"


def store(
    method: str,
    cache: torch.Tensor,
    at: tuple[torch.Tensor, torch.Tensor],
    entries: torch.Tensor,
) -> None:
    """Write (n, groups, h) into a cache at n rows and places."""
    numbers, places = at
    if method == "flash":
        cache[numbers, places] = entries
    else:
        cache[numbers, :, places] = entries


class Cache:
    """Room for the keys and values of a number of rows.

    Args:
        architecture: of the decoder.
        method: `flash`: an entry is (rows, room, groups, h); `products`: (rows, groups,
            room, h), so that a product reads it as it lies.
        rows: at the most.
        room: tokens a row at the most.
        like: a tensor of the device and type.
    """

    def __init__(
        self, architecture: Architecture, method: str, rows: int, room: int, like: torch.Tensor
    ) -> None:
        self.method = method
        self.rows = rows
        self.room = room
        self.rooms = {
            kind: min(room, architecture.window_of(kind) or room)
            for kind in set(architecture.kinds)
        }
        groups, width = architecture.key_value_heads, architecture.head_width

        def entry(room: int) -> torch.Tensor:
            inner = (room, groups) if method == "flash" else (groups, room)
            # Zeros: what is masked is multiplied by 0, which only numbers survive.
            return like.new_zeros(rows, *inner, width)

        kinds = architecture.kinds
        self.keys = [entry(self.rooms[kind]) for kind in kinds]
        self.values = [entry(self.rooms[kind]) for kind in kinds]
        device = like.device
        self._numbers = torch.arange(rows, device=device)
        self._places = torch.arange(room, device=device)
        counts = torch.arange(rows + 1, device=device, dtype=torch.int32)
        self._queries = counts
        self._starts = {kind: counts * room for kind, room in self.rooms.items()}

    def of(self, block: int, rows: int, longest: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """A block's keys and values of the first rows; `products` reads `longest` places."""
        keys, values = self.keys[block][:rows], self.values[block][:rows]
        if self.method == "products" and longest is not None:
            keys, values = keys[:, :, :longest], values[:, :, :longest]
        return keys, values

    def visible(
        self, kind: str, positions: torch.Tensor, longest: int | None
    ) -> tuple[torch.Tensor, ...]:
        """What `CachedAttention` reads of rows (R,) at positions, but for keys and values.

        Args:
            longest: tokens that the longest row then has; None where that is not known.
        """
        rows, room = len(positions), self.rooms[kind]
        places = positions % room
        lengths = (positions + 1).clamp(max=room)
        numbers = self._numbers[:rows]
        if self.method == "flash":
            seen = (lengths.int(), self._queries[: rows + 1], self._starts[kind][: rows + 1])
        else:
            span = self._places[: min(room, longest or room)]
            seen = ((span >= lengths[:, None])[:, None, None],)
        return numbers, places, *seen

    def take(self, rows: torch.Tensor) -> None:
        """Let row i be what row rows[i] was: int64 (n,), n at most all rows."""
        for entry in (*self.keys, *self.values):
            entry[: len(rows)] = entry.index_select(0, rows)


def kept_tokens(
    lengths: Sequence[int], firsts: Sequence[int], numbers: Sequence[int], room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tokens of prompts a block with so much room keeps, and where.

    Args:
        lengths: of the prompts.
        firsts: where each begins on the line of tokens.
        numbers: of their rows in the cache.
        room: tokens kept.

    Returns:
        Three int64 arrays: tokens of the line, their rows, their places.
    """
    parts = [np.arange(max(0, length - room), length) for length in lengths]
    positions = np.concatenate(parts)
    sizes = [len(part) for part in parts]
    line = positions + np.repeat(np.asarray(firsts, np.int64), sizes)
    return line, np.repeat(np.asarray(numbers, np.int64), sizes), positions % room
