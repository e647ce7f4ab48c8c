"""A run of the twin on transformers + PEFT as the parity gate probes it. Never imports Keras."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from kerasft.compare.probing import Fed, Measured
from kerasft.hf import windows
from kerasft.hf.adapter import assign, attach, tensors, variables
from kerasft.hf.base import load_base
from kerasft.hf.batches import IGNORED, supervised
from kerasft.models.lora_start import adapter_to_start_from
from kerasft.preparation import Prepared

Batch = Mapping[str, torch.Tensor]


class HfSide:
    """See `kerasft.compare.probing.Side`.

    Args:
        prepared: recipe, without dropout, and windows.
        dtype: of the base, resolved.
    """

    def __init__(self, prepared: Prepared, dtype: str) -> None:
        recipe = prepared.recipe
        self._prepared = prepared
        self._base = load_base(recipe.model.preset, dtype)
        self.fingerprint = self._base.fingerprint
        self._model = attach(self._base, recipe.lora, recipe.train.seed)
        if recipe.lora.init_from:
            base = self._base
            self.assign(
                adapter_to_start_from(
                    recipe.lora.init_from,
                    base.family,
                    base.config,
                    recipe.lora,
                    fingerprint=base.fingerprint,
                    preset=base.preset,
                )
            )
        self._model.eval()

    def batches(self) -> Iterator[list[Batch]]:
        """The micro-batches of each window, as the model is called with them."""
        source = self._prepared.windows
        for index in range(min(source.steps_per_epoch, self._prepared.total_steps)):
            window = source.window(0, index)
            yield [windows.inputs(window, micro) for micro in range(len(window.weights))]

    def windows(self) -> Iterator[list[Fed]]:
        for batches in self.batches():
            yield [fed_of(batch) for batch in batches]

    def tensors(self) -> dict[str, np.ndarray]:
        return tensors(self._model, self._base.family, self._base.config)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        assign(self._model, self._base.family, self._base.config, values)

    def measure(self, positions: np.ndarray) -> Measured:
        return measured(
            self._model,
            next(self.batches()),
            positions,
            variables(self._model, self._base.family, self._base.config),
        )


def measured(
    model: torch.nn.Module,
    window: Sequence[Batch],
    positions: np.ndarray,
    parameters: Mapping[str, torch.nn.Parameter],
) -> Measured:
    """Loss, logits and gradients of a window, by transformers' own loss.

    Args:
        model: takes a batch and `num_items_in_batch`.
        window: its micro-batches, on the CPU.
        positions: flat, of the first micro-batch.
        parameters: by our names; each holds the transpose of our tensor.
    """
    device = next(iter(parameters.values())).device
    tokens = torch.tensor(max(sum(map(supervised, window)), 1), device=device)
    model.zero_grad(set_to_none=True)
    loss, logits = 0.0, None
    for batch in window:
        sent = {name: value.to(device) for name, value in batch.items()}
        output = model(**sent, num_items_in_batch=tokens, use_cache=False)
        output.loss.backward()
        loss += float(output.loss.detach())
        if logits is None:
            flat = output.logits.detach().flatten(0, 1)
            logits = flat[torch.from_numpy(positions).to(device)].float().cpu().numpy()
    gradients = {
        name: np.ascontiguousarray(parameter.grad.float().cpu().numpy().T)
        for name, parameter in parameters.items()
    }
    model.zero_grad(set_to_none=True)
    assert logits is not None
    return Measured(loss, logits, gradients)


def fed_of(batch: Batch) -> Fed:
    """What a batch says after the shift of transformers' losses."""
    labels = batch["labels"].numpy()
    following = np.full(labels.shape, IGNORED, labels.dtype)
    following[:, :-1] = labels[:, 1:]
    inputs = np.flatnonzero(following.reshape(-1) != IGNORED)
    return Fed(
        token_ids=batch["input_ids"].numpy(),
        position_ids=batch["position_ids"].numpy(),
        inputs=inputs,
        targets=following.reshape(-1)[inputs],
    )
