"""Prompts laid out for the pass that fills the cache, in tiles of bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Tile:
    """Prompts that are read together: B rows of L tokens, several prompts to a row.

    Attributes:
        token_ids, segment_ids, position_ids: int32 (B, L); segment 0 is padding.
        sequence_starts: int32 (S + 1,): where each of S prompts begins on the line of
            B · L tokens, and its end; they follow each other where B is 1.
        prompts: the numbers of the prompts.
        lengths: tokens of each.
        firsts: where each begins.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    position_ids: np.ndarray
    sequence_starts: np.ndarray
    prompts: list[int]
    lengths: list[int]
    firsts: list[int]


def tiles(
    prompts: Sequence[Sequence[int]], most: int, *, one_line: bool, length: int | None = None
) -> list[Tile]:
    """Prompts in tiles, longest first; empty ones are left out.

    Args:
        prompts: token ids.
        most: tokens of a tile, unless one prompt alone has more.
        one_line: a tile is one row without padding, for attention that reads
            `sequence_starts`; else its rows are as long as its longest prompt.
        length: of the rows instead, where they are to be of one length in all tiles.
    """
    left = sorted((i for i, ids in enumerate(prompts) if len(ids)), key=lambda i: -len(prompts[i]))
    found = []
    while left:
        order, left = left, []
        longest = length or len(prompts[order[0]])
        size = max(most, longest) if one_line else longest
        rows: list[list[int]] = [[]]
        free = [size]
        for prompt in order:
            needed = len(prompts[prompt])
            # The first row that has room for it.
            place = next((row for row, room in enumerate(free) if room >= needed), None)
            if place is None and (len(rows) + 1) * size <= most:
                place = len(rows)
                rows.append([])
                free.append(size)
            if place is None:
                left.append(prompt)
            else:
                rows[place].append(prompt)
                free[place] -= needed
        found.append(_tile(prompts, rows, None if one_line else longest))
    return found


def _tile(prompts: Sequence[Sequence[int]], rows: list[list[int]], length: int | None) -> Tile:
    if length is None:
        length = sum(len(prompts[prompt]) for prompt in rows[0])
    arrays = [np.zeros((len(rows), length), np.int32) for _ in range(3)]
    token_ids, segment_ids, position_ids = arrays
    chosen, lengths, firsts = [], [], []
    for row, members in enumerate(rows):
        at = 0
        for segment, prompt in enumerate(members, start=1):
            size = len(prompts[prompt])
            token_ids[row, at : at + size] = prompts[prompt]
            segment_ids[row, at : at + size] = segment
            position_ids[row, at : at + size] = np.arange(size)
            chosen.append(prompt)
            lengths.append(size)
            firsts.append(row * length + at)
            at += size
    starts = np.asarray([*firsts, len(rows) * length], np.int32)
    return Tile(token_ids, segment_ids, position_ids, starts, chosen, lengths, firsts)
