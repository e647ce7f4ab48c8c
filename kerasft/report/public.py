"""What of a run may leave the machine: no secret, no folder beyond the run's own name."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from kerasft.export.card_facts import public_name, publishable

_LOCAL = re.compile(r"[/~]|\.{1,2}[/\\]|file:|[A-Za-z]:[\\/]")
_PATH = re.compile(r"(?<![\w/:.<])(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,}[\\/]?")


def publisher(folder: Path) -> Callable[[str], str]:
    """What takes secrets and the folders around `folder` out of a text."""
    return lambda text: publishable(text, folder)


def public_command(command: str) -> str:
    """A command line whose files are named without their folders."""
    try:
        words = shlex.split(command)
    except ValueError:
        return public_sentence(command)
    return shlex.join([_word(word) for word in words])


def public_sentence(text: str) -> str:
    """A message whose files are named without their folders."""
    return _PATH.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)


def _word(word: str) -> str:
    name, sign, value = word.partition("=")
    if sign and not _LOCAL.match(name):
        return f"{name}={_word(value)}"
    return public_name(word) if _LOCAL.match(word) else word
