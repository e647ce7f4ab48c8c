"""One optimizer step on JAX: one compiled function a window shape, with donated state."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kerasft.engine.jax_loss import fused_linear_cross_entropy


class JaxStep:
    """The step of `FineTuner` on JAX."""

    def make_train_function(self, force: bool = False) -> None:
        """What `fit` calls: the compiled step, fed from Keras' state and iterator.

        Keras would pass the frozen base through the step and take it back; XLA then keeps
        copies of it. Here the base goes in only, and what a step changes is donated.
        """
        if self.train_function is not None and not force:
            return
        compiled = jax.jit(self._step, donate_argnums=(0, 1, 2))
        moving = self._moving()

        in_flight: list[jax.Array] = []

        def train_function(state: tuple, iterator: Any) -> tuple[dict[str, float], tuple]:
            trainable, frozen, optimizer_state, metrics_state = state
            seeds = [frozen[index] for index in moving]
            base = _without(frozen, moving)
            metrics, trainable, seeds, optimizer_state = compiled(
                trainable, seeds, optimizer_state, base, dict(next(iterator))
            )
            frozen = _merged(base, moving, seeds)
            # JAX returns before the step is done. One step waits in the queue, so that the
            # device never does; more would leave the numbers minutes behind on a slow one.
            in_flight.append(metrics["loss"])
            if len(in_flight) > 1:
                in_flight.pop(0).block_until_ready()
            return self.record(metrics), (trainable, frozen, optimizer_state, metrics_state)

        self.train_function = train_function

    def _step(
        self, trainable: list, seeds: list, optimizer_state: list, base: list, window: dict
    ) -> tuple[dict[str, jax.Array], list, list, list]:
        """Gradients of one window, clipped and applied; pure."""
        supervised = jnp.maximum(window["weights"].sum(), 1)
        moving = self._moving()

        def micro_step(carry: tuple, micro: dict) -> tuple[tuple, None]:
            gradients, sums, seeds = carry
            frozen = _merged(base, moving, seeds)
            (loss, (correct, updated)), new = jax.value_and_grad(self._loss, has_aux=True)(
                trainable, frozen, micro, True
            )
            gradients = [old + part for old, part in zip(gradients, new, strict=True)]
            seeds = [updated[index] for index in moving]
            return (gradients, sums + jnp.stack([loss, correct]), seeds), None

        start = (
            [jnp.zeros_like(value) for value in trainable],
            jnp.zeros(2, jnp.float32),
            seeds,
        )
        gradients, sums, seeds = _over_micro_batches(micro_step, start, window)
        gradients = [gradient / supervised for gradient in gradients]
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
        if self.clip_norm:
            factor = self.clip_norm / jnp.maximum(norm, self.clip_norm)
            gradients = [gradient * factor for gradient in gradients]
        rate = self._rate(optimizer_state)
        trainable, optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        metrics = {
            "loss": sums[0] / supervised,
            "accuracy": sums[1] / supervised,
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return metrics, trainable, seeds, optimizer_state

    def sync(self) -> None:
        """Bring the state that `fit` holds between steps back into the variables."""
        self.jax_state_sync()

    def validation_sums(self, window: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
        """Sums over a window: token losses, right tokens, supervised tokens."""
        return self._validation_function(
            [variable.value for variable in self.trainable_variables],
            [variable.value for variable in self.non_trainable_variables],
            dict(window),
        )

    @property
    def _validation_function(self) -> Any:
        if getattr(self, "_compiled_validation", None) is None:
            self._compiled_validation = jax.jit(self._validation)
        return self._compiled_validation

    def _validation(self, trainable: list, frozen: list, window: dict) -> tuple:
        def micro_step(sums: jax.Array, micro: dict) -> tuple[jax.Array, None]:
            loss, (correct, _) = self._loss(trainable, frozen, micro, False)
            return sums + jnp.stack([loss, correct]), None

        sums = _over_micro_batches(micro_step, jnp.zeros(2, jnp.float32), window)
        return sums[0], sums[1], window["weights"].sum()

    def _loss(self, trainable: list, frozen: list, micro: Mapping, training: bool) -> tuple:
        hidden, updated = self.stateless_call(trainable, frozen, micro, training=training)
        states = hidden.reshape(-1, hidden.shape[-1])[micro["positions"]]
        loss, correct = fused_linear_cross_entropy(
            states,
            self.head.matrix(frozen[self._head_index()]),
            micro["targets"],
            micro["weights"],
            soft_cap=self.head.soft_cap,
            largest_chunk=self.chunk,
        )
        return loss, (correct, updated)

    def _rate(self, optimizer_state: list) -> jax.Array:
        mapping = list(zip(self.optimizer.variables, optimizer_state, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return jnp.asarray(self.optimizer.learning_rate)

    def _head_index(self) -> int:
        return next(
            index
            for index, variable in enumerate(self.non_trainable_variables)
            if variable is self.head.variable
        )

    def _moving(self) -> list[int]:
        """Which frozen variables change in a step: the states of the seed generators.

        Only they are carried through the accumulation; the base's weights are not.
        """
        return [
            index
            for index, variable in enumerate(self.non_trainable_variables)
            if not keras.backend.is_float_dtype(variable.dtype)
        ]


def _over_micro_batches(micro_step: Callable, start: Any, window: dict) -> Any:
    """Carry a state over the micro-batches; one alone needs no loop."""
    if window["weights"].shape[0] == 1:
        return micro_step(start, {name: value[0] for name, value in window.items()})[0]
    return jax.lax.scan(micro_step, start, window)[0]


def _without(values: list, indices: list[int]) -> list:
    left_out = set(indices)
    return [value for index, value in enumerate(values) if index not in left_out]


def _merged(values: list, indices: list[int], others: list) -> list:
    """The list that `_without` was taken from, with others in the places left out."""
    merged = list(values)
    for index, other in zip(indices, others, strict=True):
        merged.insert(index, other)
    return merged
