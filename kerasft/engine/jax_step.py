"""One optimizer step on JAX: one compiled function a window shape, with donated state."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kerasft.engine.jax_attention import uses_cudnn
from kerasft.engine.jax_decoder import JaxDecoder, Values
from kerasft.engine.jax_float8_base import Float8Base
from kerasft.engine.jax_loss import fused_linear_cross_entropy, supervised_rows
from kerasft.engine.quantization import check_device

QUEUED_SECONDS = 0.25
"""Steps wait on the device for about this long, so that it never waits for the host."""

QUEUED_STEPS = 8
"""The most that wait."""

_READ_BY_HOST = ("sequence_starts",)
"""Arrays of a window that no compiled function reads here."""


class JaxStep:
    """The step of `FineTuner` on JAX."""

    def set_up(self, remat: bool, compiled: bool, quantization: str) -> None:
        """Build the decoder. JAX always compiles, so `compiled` changes nothing.

        Raises:
            ModelError: the matrices cannot be in float8, or it is int8 that is asked for.
        """
        self._decoder = JaxDecoder(self.backbone, self.family, self.lora, remat=remat)
        self._trained = list(self.trainable_variables)
        self._frozen = list(self.non_trainable_variables)
        self.notes: list[str] = [self._attention_note()]
        self.compilations: list[tuple[str, float]] = []
        self._compiled: dict[tuple, Callable] = {}
        self._shapes: set[tuple] = set()
        self._packed = False
        self._float8: Float8Base | None = None
        if quantization == "int8-backward":
            check_device("jax", quantization)
        if quantization != "none":
            self._float8 = Float8Base(self._decoder.blocks, quantization)

    def feed(self, window: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What `fit` passes on for a window: the window itself.

        Rows of one segment need no mask, which is cheaper. That is seen here, before Keras
        moves the window to the device; once a window has needed a mask all do, so that a
        run compiles a shape twice at the most.
        """
        self._packed = self._packed or bool((window["segment_ids"] > 1).any())
        return window

    def make_train_function(self, force: bool = False) -> None:
        """What `fit` calls: the compiled step, fed from Keras' state and iterator.

        Keras would pass the frozen base through the step and take it back; XLA then keeps
        copies of it. Here the base goes in only, and what a step changes is donated.
        """
        if self.train_function is not None and not force:
            return
        if self._float8 is not None:
            # Before Keras takes the variables' values, which would keep the originals.
            self._float8.round()
        # The optimizer is part of what was traced.
        self._compiled = {key: run for key, run in self._compiled.items() if key[0] != "step"}
        queue = _Queue()

        def train_function(state: tuple, iterator: Iterator) -> tuple[dict[str, float], tuple]:
            trainable, frozen, optimizer_state, metrics_state = state
            metrics, trainable, optimizer_state = self._call(
                "step",
                self._step,
                next(iterator),
                trainable,
                optimizer_state,
                self._given(frozen),
                donated=(0, 1),
            )
            queue.put(metrics["loss"])
            return self.record(metrics), (trainable, frozen, optimizer_state, metrics_state)

        self.train_function = train_function

    @property
    def rounded(self) -> bool:
        """Whether the base's matrices are rounded now."""
        return self._float8 is not None and bool(self._float8.matrices)

    def restore_base(self) -> None:
        """Put the base back as it was loaded; the next step rounds it again if it has to."""
        if self._float8 is not None:
            self._float8.restore()
            # Keras calls for it anew then, before it takes the variables' values.
            self.train_function = None

    def sync(self) -> None:
        """Bring the state that `fit` holds between steps back into the variables."""
        self.jax_state_sync()

    def step_state(self) -> dict[str, np.ndarray]:
        """Whether a window has needed a mask, after which all windows get one."""
        return {"step/packed": np.array(self._packed)}

    def restore_step_state(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Put `step_state` back; a checkpoint of another backend has none."""
        self._packed = bool(tensors.get("step/packed", self._packed))

    def gradients(self, window: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gradients of a window's token-mean loss, by the names of `Lora.tensors`."""
        found, _ = self._call("gradients", self._gradients, window, *self._state())
        by_variable = {id(v): value for v, value in zip(self._trained, found, strict=True)}
        return {
            name: np.asarray(by_variable[id(variable)])
            for name, variable in zip(self.lora.tensors(), self.lora.variables, strict=True)
        }

    def hidden_states(self, window: Mapping[str, np.ndarray]) -> np.ndarray:
        """Float32 (A, B, L, width) after the final norm, without dropout."""
        return np.asarray(self._call("hidden states", self._hidden, window, *self._state()))

    def validation_sums(self, window: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
        """Sums over a window: token losses, right tokens, supervised tokens."""
        return self._call("validation", self._validation, window, *self._state())

    def _call(
        self,
        what: str,
        function: Callable,
        window: Mapping[str, Any],
        *state: list,
        donated: tuple[int, ...] = (),
    ) -> Any:
        """Run a compiled function on a state and a window, and note what was compiled."""
        if isinstance(window["segment_ids"], np.ndarray):
            self.feed(window)
        # What is read while tracing; JAX does not see that it changed.
        key = (what, self._packed, self.lora.is_active)
        if key not in self._compiled:
            self._compiled[key] = jax.jit(
                partial(function, packed=self._packed), donate_argnums=donated
            )
        arrays = jax.device_put({k: v for k, v in window.items() if k not in _READ_BY_HOST})
        (rows, length), room = window["token_ids"].shape[1:], window["weights"].shape
        start = time.monotonic()
        result = self._compiled[key](*state, arrays)
        if (key, rows, length, room) not in self._shapes:
            # The call came back when the function was compiled, not when it was done.
            self._shapes.add((key, rows, length, room))
            said = f"{what} of {room[0]} × {rows} × {length} tokens, {room[1]} supervised"
            self.compilations.append((said, time.monotonic() - start))
        return result

    def _state(self) -> tuple[list, list]:
        if self._float8 is not None:
            self._float8.round()
        return [v.value for v in self._trained], self._given([v.value for v in self._frozen])

    def _given(self, frozen: list) -> list:
        """What is computed with in place of the frozen variables' values: some are rounded."""
        if self._float8 is None:
            return frozen
        rounded = self._float8.matrices
        return [
            rounded.get(id(variable), value)
            for variable, value in zip(self._frozen, frozen, strict=True)
        ]

    def _values(self, trainable: list, frozen: list) -> Values:
        return {
            id(variable): value
            for variables, values in ((self._trained, trainable), (self._frozen, frozen))
            for variable, value in zip(variables, values, strict=True)
        }

    def _step(
        self, trainable: list, optimizer_state: list, frozen: list, window: dict, packed: bool
    ) -> tuple[dict[str, jax.Array], list, list]:
        """Gradients of one window, clipped and applied; pure.

        Where the run leaves out what is not finite, the step counts all the same.
        """
        gradients, sums = self._gradients(trainable, frozen, window, packed)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
        if self.clip_norm:
            factor = self.clip_norm / jnp.maximum(norm, self.clip_norm)
            gradients = [gradient * factor for gradient in gradients]
        rate = self._rate(optimizer_state)
        new_trainable, new_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        if self.skips:
            finite = jnp.isfinite(norm) & jnp.isfinite(sums[0])
            counted = [
                variable is self.optimizer.iterations for variable in self.optimizer.variables
            ]
            new_state = [
                new if counts else jnp.where(finite, new, old)
                for new, old, counts in zip(new_state, optimizer_state, counted, strict=True)
            ]
            new_trainable = [
                jnp.where(finite, new, old)
                for new, old in zip(new_trainable, trainable, strict=True)
            ]
        metrics = {
            "loss": sums[0],
            "accuracy": sums[1],
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return metrics, new_trainable, new_state

    def _gradients(
        self, trainable: list, frozen: list, window: dict, packed: bool
    ) -> tuple[list, jax.Array]:
        """Gradients of the token-mean loss, and that loss and the accuracy."""
        supervised = jnp.maximum(window["weights"].sum(), 1)
        differentiated = jax.value_and_grad(
            partial(self._loss, packed=packed, training=True), has_aux=True
        )

        def micro_step(carry: tuple, micro: dict) -> tuple[tuple, None]:
            gradients, sums = carry
            (loss, correct), new = differentiated(trainable, frozen, micro)
            gradients = [old + part for old, part in zip(gradients, new, strict=True)]
            return (gradients, sums + jnp.stack([loss, correct])), None

        start = ([jnp.zeros_like(value) for value in trainable], jnp.zeros(2, jnp.float32))
        gradients, sums = _over_micro_batches(micro_step, start, window)
        return [gradient / supervised for gradient in gradients], sums / supervised

    def _validation(self, trainable: list, frozen: list, window: dict, packed: bool) -> tuple:
        def micro_step(sums: jax.Array, micro: dict) -> tuple[jax.Array, None]:
            found = self._loss(trainable, frozen, micro, packed=packed, training=False)
            return sums + jnp.stack(found), None

        sums = _over_micro_batches(micro_step, jnp.zeros(2, jnp.float32), window)
        return sums[0], sums[1], window["weights"].sum()

    def _hidden(self, trainable: list, frozen: list, window: dict, packed: bool) -> jax.Array:
        values = self._values(trainable, frozen)

        def states(micro: dict) -> jax.Array:
            hidden = self._decoder.hidden(values, micro, packed=packed, training=False)
            hidden = self._decoder.final_norm(values, hidden).astype(jnp.float32)
            return hidden.reshape(*micro["token_ids"].shape, -1)

        return jax.lax.map(states, window)

    def _loss(
        self, trainable: list, frozen: list, micro: Mapping, *, packed: bool, training: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Summed losses and right tokens of a micro-batch."""
        values = self._values(trainable, frozen)
        hidden = self._decoder.hidden(values, micro, packed=packed, training=training)
        states = supervised_rows(hidden, micro["gather_indices"], micro["weights"])
        return fused_linear_cross_entropy(
            self._decoder.final_norm(values, states),
            self.head.matrix(values[id(self.head.variable)]),
            micro["targets"],
            micro["weights"],
            soft_cap=self.head.soft_cap,
            largest_chunk=self.chunk,
        )

    def _rate(self, optimizer_state: list) -> jax.Array:
        mapping = list(zip(self.optimizer.variables, optimizer_state, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return jnp.asarray(self.optimizer.learning_rate)

    def _attention_note(self) -> str:
        arch = self._decoder.architecture
        if arch.attention_soft_cap:
            return "attention is computed by XLA: cuDNN's has no soft-cap"
        if uses_cudnn(arch.head_width, self.backbone.compute_dtype):
            return "attention is cuDNN's flash attention"
        return "attention is computed by XLA"


class _Queue:
    """Bounds the steps that wait on the device.

    JAX returns before a step is done. A fast device needs some steps in its queue, so that
    it never waits for the host; on a slow one more than one would leave the numbers behind.
    """

    def __init__(self) -> None:
        self._waiting: deque[jax.Array] = deque()
        self._done_at = time.monotonic()
        self._room = 1

    def put(self, result: jax.Array) -> None:
        """Add a step's result, and wait until no more steps are queued than should be."""
        self._waiting.append(result)
        while len(self._waiting) > self._room:
            self._waiting.popleft().block_until_ready()
            now = time.monotonic()
            took, self._done_at = now - self._done_at, now
            self._room = int(min(max(QUEUED_SECONDS / max(took, 1e-6), 1), QUEUED_STEPS))


def _over_micro_batches(micro_step: Callable, start: Any, window: dict) -> Any:
    """Carry a state over the micro-batches; one alone needs no loop."""
    if window["weights"].shape[0] == 1:
        return micro_step(start, {name: value[0] for name, value in window.items()})[0]
    return jax.lax.scan(micro_step, start, window)[0]
