"""Counts, times and sizes in words, and texts of any origin."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def count(number: int | None, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{number or 0:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time span in the units that a person would take."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {round(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"


def gibibytes(size: float) -> str:
    """Memory, in GiB, or MiB below a tenth of one."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def visible(text: str) -> str:
    """A text whose control characters, and halves of characters, are written out."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
