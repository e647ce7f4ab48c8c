"""A run of the engine keras as the parity gate probes it."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from kerasft.compare.probing import Fed, Measured
from kerasft.engine.keras_learner import KerasLearner
from kerasft.preparation import Prepared

Arrays = Mapping[str, np.ndarray]


class KerasSide:
    """See `kerasft.compare.probing.Side`.

    Args:
        learner: at its start, without dropout.
        prepared: of the learner.
    """

    def __init__(self, learner: KerasLearner, prepared: Prepared) -> None:
        self._learner = learner
        self._prepared = prepared
        self.fingerprint = learner.base.fingerprint

    def windows(self) -> Iterator[list[Fed]]:
        for window in self._arrays():
            yield [_fed(window, micro) for micro in range(len(window["weights"]))]

    def tensors(self) -> dict[str, np.ndarray]:
        return self._learner.tensors()

    def assign(self, tensors: Arrays) -> None:
        self._learner.assign(tensors)

    def measure(self, positions: np.ndarray) -> Measured:
        tuner, first = self._learner.tuner, next(self._arrays())
        gradients = tuner.gradients(first)
        hidden = tuner.hidden_states(first)[0]  # (B, L, width)
        chosen = hidden.reshape(-1, hidden.shape[-1])[positions]
        # In the type of the head, as the step multiplies them.
        states = keras.ops.cast(chosen, tuner.head.variable.dtype)
        logits = keras.ops.convert_to_numpy(tuner.head.logits(states))
        return Measured(tuner.validate([first])["loss"], logits.astype(np.float32), gradients)

    def _arrays(self) -> Iterator[Arrays]:
        """The windows of the first epoch, as the step reads them."""
        source = self._prepared.windows
        for index in range(min(source.steps_per_epoch, self._prepared.total_steps)):
            yield self._learner.read(source.window(0, index))


def _fed(window: Arrays, micro: int) -> Fed:
    used = window["weights"][micro] > 0
    inputs = window["gather_indices"][micro][used]
    order = np.argsort(inputs)
    return Fed(
        token_ids=window["token_ids"][micro],
        position_ids=window["position_ids"][micro],
        inputs=inputs[order],
        targets=window["targets"][micro][used][order],
    )
