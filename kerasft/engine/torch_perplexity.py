"""The losses of `perplexity.py` on torch."""

from typing import TYPE_CHECKING

import keras
import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from kerasft.engine.head import Head
from kerasft.engine.torch_decoder import TorchDecoder
from kerasft.engine.torch_loss import fused_linear_cross_entropy
from kerasft.models.families import Family
from kerasft.models.lora import Lora

if TYPE_CHECKING:
    from kerasft.engine.perplexity import Batch

_READ = ("token_ids", "segment_ids", "position_ids", "sequence_starts")


class TorchLosses:
    """Summed losses of the rows of a batch.

    Args:
        backbone: a KerasHub backbone, with the adapter on it.
        family: its family.
        lora: the adapter.
        head: the output embedding.
        chunk: tokens whose logits are alive at once.
    """

    def __init__(
        self, backbone: keras.Model, family: Family, lora: Lora, head: Head, chunk: int
    ) -> None:
        # Eager: a model is asked for a few hundred rows, which no compilation would repay.
        self._decoder = TorchDecoder(backbone, family, lora, remat=False, compile_blocks=False)
        self._head = head
        self._chunk = chunk
        self._device = torch.device(get_device())

    @torch.no_grad()
    def sums(self, batch: "Batch") -> np.ndarray:
        """(B,) float64 nats."""
        micro = {name: torch.as_tensor(getattr(batch, name)).to(self._device) for name in _READ}
        hidden = self._decoder.hidden(micro, training=False)
        matrix = self._head.matrix(self._head.variable.value)
        found = []
        for place in range(len(batch.rows)):
            used = int(batch.weights[place].sum())
            indices, targets = (
                torch.as_tensor(values[place, :used]).long().to(self._device)
                for values in (batch.gather_indices, batch.targets)
            )
            loss, _ = fused_linear_cross_entropy(
                self._decoder.final_norm(hidden.index_select(0, indices)),
                matrix,
                targets,
                torch.ones(used, device=self._device),
                soft_cap=self._head.soft_cap,
                largest_chunk=self._chunk,
            )
            found.append(loss)
        return torch.stack(found).double().cpu().numpy()
