"""One optimizer step on torch: eager KerasHub layers under the fused loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from kerasft.engine.torch_loss import fused_linear_cross_entropy

LENGTH_STEP, POSITIONS_STEP = 16, 32
"""Lengths and numbers of gathered positions are multiples of these, to keep the shapes few."""


class TorchStep:
    """The step of `FineTuner` on torch."""

    def train_step(self, data: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Gradients of one window, clipped and applied."""
        micros, tokens = _micro_batches(data)
        supervised = max(tokens, 1.0)
        variables = self.trainable_variables
        for variable in variables:
            variable.value.grad = None
        loss_sum = torch.zeros((), device=get_device())
        correct = torch.zeros((), device=get_device())
        for micro in micros:
            loss, right = self._sums(micro, True)
            (loss / supervised).backward()
            loss_sum += loss.detach()
            correct += right
        gradients = [variable.value.grad for variable in variables]
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            if self.clip_norm:
                torch._foreach_mul_(gradients, self.clip_norm / norm.clamp(min=self.clip_norm))
            rate = self.optimizer.learning_rate
            self.optimizer.apply(gradients, variables)
        return self.record(
            {
                "loss": loss_sum / supervised,
                "accuracy": correct / supervised,
                "gradient_norm": norm,
                "learning_rate": rate,
            }
        )

    def sync(self) -> None:
        """Variables hold the newest state already."""

    def validation_sums(self, window: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
        """Sums over a window: token losses, right tokens, supervised tokens."""
        micros, supervised = _micro_batches(window)
        sums = torch.zeros(2, device=get_device())
        with torch.no_grad():
            for micro in micros:
                sums += torch.stack(self._sums(micro, False))
        return sums[0], sums[1], supervised

    def _sums(
        self, micro: Mapping[str, torch.Tensor], training: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self(micro, training=training)
        supervised = hidden.flatten(0, 1).index_select(0, micro["positions"])
        return fused_linear_cross_entropy(
            supervised,
            self.head.matrix(self.head.variable.value),
            micro["targets"],
            micro["weights"],
            soft_cap=self.head.soft_cap,
            largest_chunk=self.chunk,
        )


def _micro_batches(window: Mapping[str, Any]) -> tuple[list[dict[str, torch.Tensor]], float]:
    """The micro-batches of a window on the device, and its supervised tokens.

    Layers that run eagerly take any shape, so most of the padding is cut off again: rows
    end at the longest one, gathered positions at the last one, up to a small multiple.
    """
    device = get_device()
    data = {name: torch.as_tensor(value) for name, value in window.items()}
    full = data["token_ids"].shape[-1]
    micros = []
    for index, weights in enumerate(data["weights"]):
        length = _used(data["padding_mask"][index].any(dim=0), LENGTH_STEP)
        used = _used(weights > 0, POSITIONS_STEP)
        positions = data["positions"][index, :used].long()
        micro = {
            "token_ids": data["token_ids"][index, :, :length],
            "padding_mask": data["padding_mask"][index, :, :length],
            "positions": positions // full * length + positions % full,
            "targets": data["targets"][index, :used].long(),
            "weights": weights[:used],
        }
        micros.append({name: value.to(device, non_blocking=True) for name, value in micro.items()})
    return micros, float(data["weights"].sum())


def _used(flags: torch.Tensor, step: int) -> int:
    """How many places are needed to hold the last that is set, in whole steps."""
    last = int(flags.nonzero().max()) + 1 if bool(flags.any()) else 1
    return min(-(-last // step) * step, len(flags))
