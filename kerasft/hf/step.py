"""One optimizer step of transformers + PEFT: the loop that its users write, without a Trainer."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from kerasft.engine.rates import rate_at
from kerasft.hf.batches import IGNORED, supervised
from kerasft.recipe import TrainSettings

MicroBatch = Mapping[str, torch.Tensor]
"""What the model's forward pass is given, on the CPU: `labels` among it."""

COUNTED_TOGETHER = 256
"""Positions whose logits are copied at once to count the right ones."""


class TrainStep:
    """AdamW on the trainable parameters, by the token mean of an accumulation window.

    Args:
        model: a causal LM with an adapter, on its device.
        settings: learning rate and schedule, AdamW's numbers, `clip_norm` and `on_bad_step`
            are read.
        total_steps: of the run, which the schedule ends with.
        compiled: whether the model's forward pass goes through `torch.compile`.
        counted: whether the tokens whose target has the largest logit are counted; a plain
            loop does without.

    Attributes:
        steps: that were taken.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        settings: TrainSettings,
        total_steps: int,
        *,
        compiled: bool = False,
        counted: bool = False,
    ) -> None:
        self.model = model.train()
        self.forward = torch.compile(model) if compiled else model
        self.parameters = [value for value in model.parameters() if value.requires_grad]
        self.device = self.parameters[0].device
        self.steps = 0
        self._settings = settings
        self._total_steps = total_steps
        self._counted = counted
        self.optimizer = adamw(self.parameters, settings)
        begin_moments(self.optimizer)

    def __call__(
        self, window: Sequence[MicroBatch], seeds: Sequence[int] = ()
    ) -> dict[str, torch.Tensor | float]:
        """Train on the micro-batches of a window.

        Args:
            window: its micro-batches.
            seeds: of the random numbers of each, where its dropout should not depend on what
                was drawn before.

        Returns:
            `loss` (the token mean), `accuracy` where it is counted, `gradient_norm` before
            clipping and `learning_rate`; tensors still on the device.
        """
        counts = [supervised(batch) for batch in window]
        # A tensor: as a number it would be a constant of the compiled program.
        tokens = sent(torch.tensor(max(sum(counts), 1)), self.device)
        total = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        for place, batch in enumerate(window):
            if seeds:
                torch.manual_seed(seeds[place])
            inputs = {name: sent(value, self.device) for name, value in batch.items()}
            found = self.forward(**inputs, num_items_in_batch=tokens, use_cache=False)
            loss = found.loss
            if self._counted:
                correct += right_tokens(found.logits, batch["labels"])
            del found  # the logits: the backward pass needs their float32 copy alone
            loss.backward()
            total += loss.detach()
        norm = self._clipped()
        rate = self._update(norm, total)
        metrics = {"loss": total, "gradient_norm": norm, "learning_rate": rate}
        return {**metrics, "accuracy": correct / tokens} if self._counted else metrics

    def restart(self, steps: int) -> None:
        """Go on after a number of steps; the moments are set by who knows them."""
        self.steps = steps
        for state in self.optimizer.state.values():
            state["step"].fill_(steps)

    def _clipped(self) -> torch.Tensor:
        """The gradient's norm; the gradients are clipped afterwards."""
        if self._settings.clip_norm:
            return torch.nn.utils.clip_grad_norm_(self.parameters, self._settings.clip_norm)
        return torch.nn.utils.get_total_norm([value.grad for value in self.parameters])

    def _update(self, norm: torch.Tensor, loss: torch.Tensor) -> float:
        """Apply the gradients at this step's rate, and give it."""
        rate = float(rate_at(np.float32(self.steps), self._settings, self._total_steps))
        self.steps += 1
        set_step(self.optimizer, rate, self._settings, self.steps)
        skips = self._settings.on_bad_step == "skip"
        if skips and not bool(torch.isfinite(norm) & torch.isfinite(loss)):
            for state in self.optimizer.state.values():  # the step counts all the same
                state["step"] += 1
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return rate


def adamw(parameters: Iterable[torch.nn.Parameter], settings: TrainSettings) -> torch.optim.AdamW:
    """torch's AdamW by the recipe's numbers."""
    parameters = list(parameters)
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.beta_1, settings.beta_2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type == "cuda",
    )


def begin_moments(optimizer: torch.optim.AdamW) -> None:
    """Give every parameter the state that torch would give it at its first update."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device = parameter.device if group["fused"] else "cpu"
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def set_step(
    optimizer: torch.optim.Optimizer, rate: float, settings: TrainSettings, step: int
) -> None:
    """The rate and epsilon of a step, from 1.

    torch adds epsilon to √(v / (1 − β₂ᵗ)), Keras to √v; with ε / √(1 − β₂ᵗ) in torch both are
    one formula, that of `kerasft.engine.torch_adamw`.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["eps"] = settings.epsilon / (1 - settings.beta_2**step) ** 0.5


def validation_sums(
    model: torch.nn.Module, batch: MicroBatch, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sums over a micro-batch: token losses, right tokens, supervised tokens."""
    inputs = {name: sent(value, device) for name, value in batch.items()}
    with torch.no_grad():
        one = torch.ones((), device=device)
        found = model(**inputs, num_items_in_batch=one, use_cache=False)
        return found.loss, right_tokens(found.logits, batch["labels"]), supervised(batch)


@torch.no_grad()
def right_tokens(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many supervised tokens have the largest logit, float32, on the device.

    Args:
        logits: (B, L, V).
        labels: int64 (B, L) on the CPU, where the places that count are found without
            waiting for the device.
    """
    places = torch.nonzero(labels.flatten() != IGNORED).flatten()
    flat = logits.flatten(0, 1)
    count = torch.zeros((), device=logits.device)
    for part in places.split(COUNTED_TOGETHER):
        # The first place of a row has no label, so the place before is of the same row.
        best = flat.index_select(0, sent(part - 1, logits.device)).argmax(-1)
        count += (best == sent(labels.flatten()[part], logits.device)).sum()
    return count


def sent(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, without waiting for it."""
    if device.type == "cuda":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def synchronise() -> None:
    """Wait until the device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
