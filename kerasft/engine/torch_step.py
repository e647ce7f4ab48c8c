"""One optimizer step on torch: eager KerasHub layers under the fused loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from kerasft.engine.torch_loss import fused_linear_cross_entropy


class TorchStep:
    """The step of `FineTuner` on torch."""

    def train_step(self, data: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Gradients of one window, clipped and applied."""
        window = _to_device(data)
        variables = self.trainable_variables
        for variable in variables:
            variable.value.grad = None
        supervised = window["weights"].sum().clamp(min=1)
        loss_sum = torch.zeros((), device=supervised.device)
        correct = torch.zeros((), device=supervised.device)
        for micro in range(window["token_ids"].shape[0]):
            loss, right = self._sums({name: value[micro] for name, value in window.items()}, True)
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
        data = _to_device(window)
        sums = torch.zeros(2, device=data["weights"].device)
        with torch.no_grad():
            for micro in range(data["token_ids"].shape[0]):
                part = {name: value[micro] for name, value in data.items()}
                sums += torch.stack(self._sums(part, False))
        return sums[0], sums[1], data["weights"].sum()

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


def _to_device(window: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    device = get_device()
    moved = {
        name: torch.as_tensor(value).to(device, non_blocking=True)
        for name, value in window.items()
    }
    for name in ("positions", "targets"):
        moved[name] = moved[name].long()
    return moved
