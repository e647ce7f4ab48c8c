"""One optimizer step of transformers + PEFT: the loop that its users write, without a Trainer."""

from collections.abc import Mapping, Sequence

import torch

from kerasft.hf.batches import supervised
from kerasft.recipe import TrainSettings


class TrainStep:
    """AdamW on the trainable parameters, by the token mean of an accumulation window.

    Args:
        model: a causal LM with an adapter, on its device.
        settings: `learning_rate`, AdamW's numbers and `clip_norm` are read.
        compiled: whether the model's forward pass goes through `torch.compile`.
    """

    def __init__(
        self, model: torch.nn.Module, settings: TrainSettings, compiled: bool = False
    ) -> None:
        self.model = model.train()
        self.forward = torch.compile(model) if compiled else model
        self.parameters = [value for value in model.parameters() if value.requires_grad]
        self.device = self.parameters[0].device
        self.clip_norm = settings.clip_norm
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=(settings.beta_1, settings.beta_2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=self.device.type == "cuda",
        )

    def __call__(self, window: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """Train on the micro-batches of a window.

        Args:
            window: of `batches.padded`, on the CPU.

        Returns:
            The token mean of the loss, still on the device.
        """
        # A tensor: as a number it would be a constant of the compiled program.
        tokens = self._sent(torch.tensor(max(sum(map(supervised, window)), 1)))
        total = torch.zeros((), device=self.device)
        for batch in window:
            inputs = {name: self._sent(value) for name, value in batch.items()}
            loss = self.forward(**inputs, num_items_in_batch=tokens, use_cache=False).loss
            loss.backward()
            total += loss.detach()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _sent(self, value: torch.Tensor) -> torch.Tensor:
        """On the device, without waiting for it."""
        if self.device.type == "cuda":
            value = value.pin_memory()
        return value.to(self.device, non_blocking=True)


def synchronise() -> None:
    """Wait until the device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
