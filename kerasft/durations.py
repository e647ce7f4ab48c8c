"""Lengths of time as people write them: `30s`, `15m`, `8h30m`."""

import re

_WRITTEN = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def seconds_of(text: str) -> int:
    """Seconds of a length of time in hours, minutes and seconds, in this order.

    Raises:
        ValueError: it is written in another way, or is no time at all.
    """
    match = _WRITTEN.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise ValueError(f"expected a length of time such as 30s, 15m or 8h30m, got {text!r}")
    return total


def written(seconds: float) -> str:
    """The same the other way round, to the second: 30600 is `8h30m`."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return "".join(parts) or "0s"
