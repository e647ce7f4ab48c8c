"""The few shapes that decoding on JAX is compiled for.

Every shape costs seconds of compilation, on a GPU also of timing its products; a step of
rows that nobody asked for costs little beside it. So a shape that was compiled for serves
whatever fits into it and is not far smaller.
"""

from collections.abc import Collection
from dataclasses import dataclass

LENGTH_STEP = 64
"""Short lengths are rounded up to multiples of this: see `rounded`."""

FEW_ROWS = 32
"""A session whose rows have ended but for so many goes on with these alone. A step with
fewer costs hardly less."""

FEWER = 4
"""… where it had at least so many times as many: what it goes on with is compiled for."""


@dataclass(frozen=True)
class Room:
    """What a session's cache has room for.

    Attributes:
        rows: of the batch.
        prompt: tokens of a prompt that are filled in, at the most.
        answer: tokens after them, at the most.
    """

    rows: int
    prompt: int
    answer: int

    @property
    def size(self) -> int:
        """Slots of a block without a window, as a measure."""
        return self.rows * (self.prompt + self.answer)

    def holds(self, other: "Room") -> bool:
        return (
            self.rows >= other.rows and self.prompt >= other.prompt and self.answer >= other.answer
        )


@dataclass(frozen=True)
class TileShape:
    """Rows and tokens of each that are filled in together."""

    rows: int
    length: int

    @property
    def size(self) -> int:
        return self.rows * self.length


def room_for(known: Collection[Room], rows: int, prompt: int, answer: int, spare: int) -> Room:
    """The smallest room that is compiled for and serves, else a new one.

    Args:
        known: what is compiled for.
        rows, prompt, answer: what is needed, as in `Room`.
        spare: how many times as large as what is needed a room may be.
    """
    own = Room(rounded_rows(rows), rounded(prompt), rounded(answer))
    serving = [each for each in known if each.holds(own) and each.size <= spare * own.size]
    return min(serving, key=lambda each: each.size, default=own)


def tile_for(
    known: Collection[TileShape], rows: int, longest: int, most: int, spare: int
) -> TileShape:
    """The smallest tile that is compiled for and serves, else a new one.

    Args:
        known: what is compiled for.
        rows: of the batch.
        longest: tokens of the longest prompt.
        most: rows of a tile of that length, at the most.
        spare: how many times as large as what is needed a tile may be.
    """
    own = TileShape(max(1, min(most, rounded_rows(rows))), rounded(longest))
    # One that is much smaller would be run too often.
    serving = [
        each
        for each in known
        if each.length >= own.length and own.size <= 2 * each.size <= 2 * spare * own.size
    ]
    return min(serving, key=lambda each: each.size, default=own)


def rounded(length: int) -> int:
    """The smallest length that is compiled for and holds `length` tokens.

    Multiples of 64 up to 512, above it of a quarter of the power of two below.
    """
    step = max(LENGTH_STEP, 2 ** (max(length - 1, 1).bit_length() - 1) // 4)
    return max(1, -(-length // step)) * step


def rounded_rows(rows: int) -> int:
    """The rows that are compiled for: powers of two up to 8, above it multiples of 8."""
    return 2 ** (rows - 1).bit_length() if rows <= 8 else -(-rows // 8) * 8


def shrunk_rows(now: int, needed: int) -> int:
    """The rows that a session of `now` rows goes on with where `needed` ones are left."""
    return FEW_ROWS if needed <= FEW_ROWS and now >= FEWER * FEW_ROWS else now
