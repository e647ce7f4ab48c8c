"""The losses of `perplexity.py` on JAX."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np

from kerasft.engine.head import Head
from kerasft.engine.jax_decoder import JaxDecoder
from kerasft.engine.jax_loss import fused_linear_cross_entropy
from kerasft.models.families import Family
from kerasft.models.lora import Lora

if TYPE_CHECKING:
    from kerasft.engine.perplexity import Batch

_TOKENS = ("token_ids", "segment_ids", "position_ids")
_SUPERVISED = ("gather_indices", "targets", "weights")


class JaxLosses:
    """Summed losses of the rows of a batch. Arguments as `TorchLosses` has them."""

    def __init__(
        self, backbone: keras.Model, family: Family, lora: Lora, head: Head, chunk: int
    ) -> None:
        self._decoder = JaxDecoder(backbone, family, lora, remat=False)
        self._lora = lora
        self._head = head
        self._chunk = chunk
        self._variables = list(backbone.variables)
        # The adapter is switched by a Python flag, which JAX reads while it traces.
        self._compiled: dict[bool, Callable[..., jax.Array]] = {}

    def sums(self, batch: "Batch") -> np.ndarray:
        """(B,) float64 nats; those of rows that only pad are 0."""
        active = self._lora.is_active
        if active not in self._compiled:
            # A new function each time: JAX would find the other state's trace by the old one.
            self._compiled[active] = jax.jit(partial(self._sums))
        values = [variable.value for variable in self._variables]
        tokens, supervised = (
            {name: getattr(batch, name) for name in names} for names in (_TOKENS, _SUPERVISED)
        )
        return np.asarray(self._compiled[active](values, tokens, supervised), np.float64)

    def _sums(self, values: list, tokens: dict[str, Any], supervised: dict[str, Any]) -> jax.Array:
        by_variable = {
            id(variable): value for variable, value in zip(self._variables, values, strict=True)
        }
        micro = {**tokens, "dropout_seeds": np.uint32(0)}
        hidden = self._decoder.hidden(by_variable, micro, packed=False, training=False)
        matrix = self._head.matrix(by_variable[id(self._head.variable)])

        def row(own: dict[str, jax.Array]) -> jax.Array:
            return fused_linear_cross_entropy(
                self._decoder.final_norm(by_variable, hidden[own["gather_indices"]]),
                matrix,
                own["targets"],
                own["weights"],
                soft_cap=self._head.soft_cap,
                largest_chunk=self._chunk,
            )[0]

        return jax.lax.map(row, supervised)
