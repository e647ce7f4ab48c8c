"""What the terms of a base ask of those who pass a derivative on.

Sources: Gemma Terms of Use, section 3.1; Llama 3, 3.1, 3.2 and 3.3 Community License
Agreements, section 1.b. Their own words are on their pages; a push to the public checks the
name that Llama's ask for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LLAMA_VERSION = re.compile(r"llama[-_ ]?(3\.[123]|3)(?![0-9])")


@dataclass(frozen=True)
class Licence:
    """The terms of a base.

    Attributes:
        hub: the Hub's word for it.
        name: what it is called.
        page: where it stands.
        notice: what has to travel with the weights, and where the terms stand.
        built_with: the words that have to be shown beside the model; "" for none.
        name_prefix: how the name of a model that is passed on must begin; "" for anything.
        asks: what else it asks, in a sentence.
    """

    hub: str
    name: str
    page: str
    notice: str
    built_with: str = ""
    name_prefix: str = ""
    asks: str = ""

    def allows_name(self, name: str) -> bool:
        """Whether a model that is passed on may be called this; signs and case do not count."""
        return _letters(name).startswith(_letters(self.name_prefix))


GEMMA = Licence(
    hub="gemma",
    name="Gemma Terms of Use",
    page="https://ai.google.dev/gemma/terms",
    notice="Gemma is provided under and subject to the Gemma Terms of Use found at\n"
    "ai.google.dev/gemma/terms",
    asks="Whoever passes the weights on gives a copy of these terms along, carries their "
    "restrictions on use (https://ai.google.dev/gemma/prohibited_use_policy) and says that "
    "the files were modified.",
)


def licence_of(family: str, names: str, config: Mapping[str, Any]) -> Licence:
    """The licence of a base.

    Args:
        family: its family's name.
        names: what the base is called, in any spelling; tells Llama's versions apart.
        config: of its backbone; tells them apart where no name does, since 3.1 brought the
            scaling of rotary frequencies and 3.2 another factor of it.
    """
    if family.startswith("gemma"):
        return GEMMA
    found = _LLAMA_VERSION.search(names.lower())
    if found:
        return _llama(found[1])
    factor = config.get("rope_frequency_adjustment_factor")
    return _llama("3" if not factor else "3.2" if factor > 8 else "3.1")


def _llama(version: str) -> Licence:
    first = version == "3"
    product = "Meta Llama 3" if first else f"Llama {version}"
    page = f"https://www.llama.com/llama{version.replace('.', '_')}/license/"
    return Licence(
        hub=f"llama{version}",
        name=f"{product} Community License",
        page=page,
        notice=f"{product} is licensed under the {product} Community License,\n"
        f"Copyright © Meta Platforms, Inc. All Rights Reserved.\n({page})",
        built_with=f"Built with {product if first else 'Llama'}",
        name_prefix="Llama 3" if first else "Llama",
        asks="Whoever passes the weights on gives a copy of the agreement along, shows the words "
        f'"Built with {product if first else "Llama"}" and lets the model\'s name begin with '
        f'"{"Llama 3" if first else "Llama"}".',
    )


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def licence_by_tag(tag: str) -> Licence | None:
    """The licence that the Hub calls by this word; None for one that no base of ours has."""
    if tag == GEMMA.hub:
        return GEMMA
    found = _LLAMA_VERSION.fullmatch(tag)
    return _llama(found[1]) if found else None
