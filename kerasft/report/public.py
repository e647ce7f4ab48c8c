"""What of a run may leave the machine: no secret, no folder beyond the run's own name."""

import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.export.card_facts import public_name, publishable
from kerasft.masking import masked
from kerasft.report.document import Publish

_LOCAL = re.compile(r"[/~]|\.{1,2}[/\\]|file:|[A-Za-z]:[\\/]")
_PATH = re.compile(r"(?<![\w/:.<])(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,}[\\/]?")


def publisher(folder: Path) -> Publish:
    """What takes secrets and the folders around `folder` out of a text.

    A report has a thousand short texts, and most of them name no folder.
    """

    @functools.cache
    def published(text: str) -> str:
        return publishable(text, folder) if "/" in text or "\\" in text else masked(text)

    return published


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


def public_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """run.json without folders: what it names files in are `why`, the data and the base."""
    public = {key: value for key, value in record.items() if key != "schema_version"}
    public["why"] = public_sentence(str(record.get("why") or ""))
    for key, fields in (("data", ("source",)), ("base", ("preset", "id"))):
        if record.get(key):
            names = {field: public_name(str(record[key].get(field))) for field in fields}
            public[key] = {**record[key], **names}
    return public


def _word(word: str) -> str:
    name, sign, value = word.partition("=")
    if sign and not _LOCAL.match(name):
        return f"{name}={_word(value)}"
    return public_name(word) if _LOCAL.match(word) else word
