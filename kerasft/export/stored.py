"""What a folder holds, tensor by tensor, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from kerasft.export.proof import Bound
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec

STORED_DTYPES = ("float32", "float16", "bfloat16", "q8_0")
"""Types that weights are stored in, the finest first."""


class Stored(Protocol):
    """A folder's weights, read by other code than wrote them where there is any.

    Attributes:
        dtype: the coarsest stored type of any tensor, of `STORED_DTYPES`.
    """

    dtype: str

    def tensor(self, spec: TensorSpec) -> np.ndarray | None:
        """The values that a loader computes with, or None if the folder lacks them.

        In the KerasHub shape and any float type, dequantised; for an adapter base +
        stored delta.
        """

    def dtype_of(self, spec: TensorSpec) -> str:
        """The type that this tensor is stored in, which bounds its rounding."""

    def faults(self) -> list[str]:
        """What differs from the trained model and no tensor shows.

        The config, tensors that the model does not have, special ids and stop tokens in
        metadata.
        """


@dataclass(frozen=True)
class Promise:
    """What a folder says that it holds, where that is not the trained model to the bit.

    Attributes:
        weights: what its tensors are held against.
        bound: how far its logits may be from the live model's; None for the bound of
            its stored type.
        note: what was given up, in a sentence.
    """

    weights: WeightsView
    bound: Bound | None = None
    note: str = ""


def coarsest(dtypes: set[str]) -> str:
    """The coarsest of some stored types."""
    return max(dtypes, key=STORED_DTYPES.index)
