"""A run of the Keras engine as the parity gate probes it. Imports Keras with its backend."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from kerasft.compare.probing import Fed, Measured
from kerasft.engine.callbacks import arrays
from kerasft.engine.device import chunk_bytes
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.loaded import start_adapter
from kerasft.models.lora import attach
from kerasft.models.sources import load_base
from kerasft.preparation import Prepared


class KerasSide:
    """See `kerasft.compare.probing.Side`.

    Args:
        prepared: recipe, without dropout, and windows.
        dtype: of the base, resolved.
        remat: whether the run computed its blocks again for the backward pass.
    """

    def __init__(self, prepared: Prepared, dtype: str, remat: bool) -> None:
        recipe = prepared.recipe
        self._prepared = prepared
        base = load_base(recipe.model.preset, dtype=dtype)
        self.fingerprint = base.fingerprint
        self._lora = attach(base.causal_lm, base.family, recipe.lora, recipe.train.seed)
        if recipe.lora.init_from:
            start_adapter(base, self._lora, recipe.lora.init_from)
        self._tuner = FineTuner(
            base.causal_lm.backbone,
            base.family,
            self._lora,
            chunk_bytes=chunk_bytes(remat),
            remat=remat,
        )
        self._first = arrays(prepared.windows.window(0, 0))

    def windows(self) -> Iterator[list[Fed]]:
        """The arrays of the windows, as the step reads them."""
        source = self._prepared.windows
        for index in range(min(source.steps_per_epoch, self._prepared.total_steps)):
            window = arrays(source.window(0, index))
            yield [_fed(window, micro) for micro in range(len(window["weights"]))]

    def tensors(self) -> dict[str, np.ndarray]:
        return self._lora.tensors()

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._lora.assign(dict(tensors))

    def measure(self, positions: np.ndarray) -> Measured:
        gradients = self._tuner.gradients(self._first)
        hidden = self._tuner.hidden_states(self._first)[0]  # (B, L, width)
        chosen = hidden.reshape(-1, hidden.shape[-1])[positions]
        # In the type of the head, as the step multiplies them.
        states = keras.ops.cast(chosen, self._tuner.head.variable.dtype)
        logits = keras.ops.convert_to_numpy(self._tuner.head.logits(states))
        loss = self._tuner.validate([self._first])["loss"]
        return Measured(loss, logits.astype(np.float32), gradients)


def _fed(window: Mapping[str, np.ndarray], micro: int) -> Fed:
    used = window["weights"][micro] > 0
    inputs = window["gather_indices"][micro][used]
    order = np.argsort(inputs)
    return Fed(
        token_ids=window["token_ids"][micro],
        position_ids=window["position_ids"][micro],
        inputs=inputs[order],
        targets=window["targets"][micro][used][order],
    )
