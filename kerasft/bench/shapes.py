"""Sizes of published models, for a benchmark with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerasft.models.families import FAMILIES, Family
from kerasft.models.presets import KNOWN


@dataclass(frozen=True)
class Shape:
    """A model without its weights.

    Attributes:
        family: name of its family.
        config: KerasHub backbone arguments.
    """

    family: str
    config: Mapping[str, Any]

    @property
    def table(self) -> Family:
        return FAMILIES[self.family]


_PRESETS = {
    "gemma-2b": "gemma_2b_en",
    "gemma2-2b": "gemma2_2b_en",
    "gemma3-270m": "gemma3_270m",
    "gemma3-1b": "gemma3_1b",
    "llama3.1-8b": "llama3.1_8b",
}

SHAPES: dict[str, Shape] = {
    name: Shape(KNOWN[preset].family, KNOWN[preset].config) for name, preset in _PRESETS.items()
}

TINY = Shape(
    "gemma3",
    {
        **SHAPES["gemma3-270m"].config,
        "vocabulary_size": 512,
        "num_layers": 7,
        "num_query_heads": 2,
        "hidden_dim": 32,
        "intermediate_dim": 64,
        "head_dim": 16,
        "sliding_window_size": 16,
    },
)
"""What the tests run; named `tiny`, and left out of the command's choices."""


def shape_of(name: str) -> Shape:
    """The shape of a name in `SHAPES`, or `tiny`."""
    return TINY if name == "tiny" else SHAPES[name]
