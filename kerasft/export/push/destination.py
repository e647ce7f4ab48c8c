"""Where an export can be pushed to, and how to log in there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kerasft.errors import ExportError
from kerasft.models.downloads import HUGGING_FACE, KAGGLE

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXPECTED = f"{HUGGING_FACE}user/name or {KAGGLE}user/model/framework/variation"


@dataclass(frozen=True)
class Destination:
    """A place for one model.

    Attributes:
        scheme: `hf://` or `kaggle://`.
        parts: user and name; on Kaggle user, model, framework and variation.
    """

    scheme: str
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the model will be called there."""
        return self.parts[1]

    @property
    def handle(self) -> str:
        """The parts as the place itself writes them."""
        return "/".join(self.parts)

    def __str__(self) -> str:
        return f"{self.scheme}{self.handle}"


def parse(text: str) -> Destination:
    """A destination from what `--push` was given.

    Raises:
        ExportError: it is none.
    """
    for scheme, count in ((HUGGING_FACE, 2), (KAGGLE, 4)):
        if text.startswith(scheme):
            parts = tuple(text.removeprefix(scheme).strip("/").split("/"))
            if len(parts) == count and all(_PART.fullmatch(part) for part in parts):
                return Destination(scheme, parts)
    raise ExportError(f"{text!r} is no destination. Expected {EXPECTED}.")
