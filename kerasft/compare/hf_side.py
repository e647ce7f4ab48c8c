"""A run of the engines hf and trl as the parity gate probes it. Never imports Keras."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import torch

from kerasft.compare.probing import Fed, Measured
from kerasft.hf.batches import IGNORED, supervised
from kerasft.hf.learner import HfLearner
from kerasft.preparation import Prepared

if TYPE_CHECKING:
    from kerasft.hf.trl_learner import TrlLearner

Batch = Mapping[str, torch.Tensor]


class HfSide:
    """See `kerasft.compare.probing.Side`.

    Args:
        learner: at its start, without dropout.
        prepared: of the learner.
    """

    def __init__(self, learner: HfLearner, prepared: Prepared) -> None:
        self._learner = learner
        self._prepared = prepared
        self.fingerprint = learner.base.fingerprint

    def batches(self) -> Iterator[Sequence[Batch]]:
        """The micro-batches of each window of the first epoch, as the model is called with them."""
        for index in range(self._windows):
            yield self._learner.read(self._prepared.windows.window(0, index)).batches

    def loss(self, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Of a micro-batch on the device: its share of the window's token mean."""
        return self._learner.model(**batch, num_items_in_batch=tokens, use_cache=False).loss

    def arithmetic(self) -> AbstractContextManager:
        """What the forward pass is computed under."""
        return contextlib.nullcontext()

    def windows(self) -> Iterator[list[Fed]]:
        for batches in self.batches():
            yield [fed_of(batch) for batch in batches]

    def tensors(self) -> dict[str, np.ndarray]:
        return self._learner.tensors()

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._learner.assign(tensors)

    def measure(self, positions: np.ndarray) -> Measured:
        model, parameters = self._learner.model, self._learner.tuner.names
        device = next(iter(parameters.values())).device
        window = [
            {name: value.to(device) for name, value in batch.items()}
            for batch in next(iter(self.batches()))
        ]
        tokens = torch.tensor(max(sum(map(supervised, window)), 1), device=device)
        model.zero_grad(set_to_none=True)
        total = 0.0
        for batch in window:
            with self.arithmetic():
                loss = self.loss(batch, tokens)
            loss.backward()
            total += float(loss.detach())
        gradients = {
            name: np.ascontiguousarray(parameter.grad.float().cpu().numpy().T)
            for name, parameter in parameters.items()
        }
        model.zero_grad(set_to_none=True)
        return Measured(total, self._logits(window[0], positions), gradients)

    @property
    def _windows(self) -> int:
        return min(self._prepared.windows.steps_per_epoch, self._prepared.total_steps)

    def _logits(self, batch: Batch, positions: np.ndarray) -> np.ndarray:
        given = {name: batch[name] for name in ("input_ids", "position_ids")}
        with torch.no_grad(), self.arithmetic():
            logits = self._learner.model(**given, use_cache=False).logits
        chosen = torch.from_numpy(positions).to(logits.device)
        return logits.flatten(0, 1)[chosen].float().cpu().numpy()


class TrlSide(HfSide):
    """The same through TRL: its loader, its loss, and its autocast."""

    _learner: TrlLearner

    def batches(self) -> Iterator[Sequence[Batch]]:
        learner, steps = self._learner, self._prepared.total_steps
        learner.feed(self._prepared.windows, steps)
        loader = iter(learner.trainer.get_train_dataloader())
        accumulation = self._prepared.recipe.train.gradient_accumulation
        for _ in range(self._windows):
            yield list(itertools.islice(loader, accumulation))

    def loss(self, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        trainer = self._learner.trainer
        return trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=tokens)

    def arithmetic(self) -> AbstractContextManager:
        return self._learner.trainer.accelerator.autocast()


def fed_of(batch: Batch) -> Fed:
    """What a batch says after the shift of transformers' losses."""
    given = {name: batch[name].cpu().numpy() for name in ("input_ids", "position_ids", "labels")}
    labels = given["labels"]
    following = np.full(labels.shape, IGNORED, labels.dtype)
    following[:, :-1] = labels[:, 1:]
    inputs = np.flatnonzero(following.reshape(-1) != IGNORED)
    return Fed(
        token_ids=given["input_ids"],
        position_ids=given["position_ids"],
        inputs=inputs,
        targets=following.reshape(-1)[inputs],
    )
