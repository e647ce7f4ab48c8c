"""`FineTuner`: a Keras model whose step trains the adapter of a causal LM.

It is driven by `fit`, so Keras callbacks work. One `fit` batch is one optimizer step: a
window of `gradient_accumulation` micro-batches, whose loss is the token mean over the
whole window. Nothing is left half-accumulated between two batches.
"""

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from kerasft.engine.head import Head
from kerasft.engine.loss import largest_chunk
from kerasft.engine.recorder import Recorder
from kerasft.engine.schedule import WarmupSchedule
from kerasft.errors import RunError, collected
from kerasft.models.families import Family
from kerasft.models.lora import Lora
from kerasft.recipe import TrainSettings

if keras.backend.backend() == "torch":
    from kerasft.engine.torch_step import TorchStep as _Step
elif keras.backend.backend() == "jax":
    from kerasft.engine.jax_step import JaxStep as _Step
else:
    raise ImportError(
        f"Keras runs on {keras.backend.backend()}; kerasft trains on torch or jax. Set "
        "KERAS_BACKEND to one of them before Keras is imported."
    )


class FineTuner(_Step, Recorder, keras.Model):
    """Trains a `Lora` by `fit` on windows of micro-batches.

    The batches are mappings of arrays: those of a `Window` that the device reads.

    Args:
        backbone: a KerasHub backbone with the adapter on it.
        family: its family.
        lora: the adapter.
        chunk_bytes: memory for the float32 logits of one chunk of the loss.
        remat: keep only the input of each block for the backward pass.
        compiled: compile the step on torch, where a compiler is found.
        quantization: as `model.quantization`: what the blocks' frozen matrices are rounded to,
            from the first window on, until `restore_base`.

    Attributes:
        notes: lines about how the step runs, for people.
        compilations: (what, seconds) of each call that compiled something.
        input_seconds: how long `fit` has waited for its windows.
    """

    def __init__(
        self,
        backbone: keras.Model,
        family: Family,
        lora: Lora,
        *,
        chunk_bytes: int,
        remat: bool = False,
        compiled: bool = False,
        quantization: str = "none",
    ) -> None:
        super().__init__(name="finetuner")
        self.backbone = backbone
        self.family = family
        self.head = Head(backbone)
        self.lora = lora
        self.chunk = largest_chunk(self.head.vocabulary, chunk_bytes)
        self.input_seconds = 0.0
        self.clip_norm = 0.0
        self.skips = False
        self.begin_recording()
        self.built = True
        self.set_up(remat=remat, compiled=compiled, quantization=quantization)

    def prepare(self, settings: TrainSettings, total_steps: int) -> None:
        """Compile with AdamW, the schedule and the clipping of a recipe."""
        self.clip_norm = settings.clip_norm
        self.skips = settings.on_bad_step == "skip"
        optimizer = keras.optimizers.AdamW(
            learning_rate=WarmupSchedule(settings, total_steps),
            weight_decay=settings.weight_decay,
            beta_1=settings.beta_1,
            beta_2=settings.beta_2,
            epsilon=settings.epsilon,
        )
        # The step is compiled by the step itself; `auto` would hand Keras' Python to
        # torch.compile layer by layer.
        self.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
        optimizer.build(self.trainable_variables)

    def training_state(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds beside the adapter: the optimizer's variables, and the step's.

        Call `sync` first while `fit` runs.
        """
        state = {
            f"optimizer/{index:04d}": np.array(keras.ops.convert_to_numpy(variable))
            for index, variable in enumerate(self.optimizer.variables)
        }
        return state | self.step_state()

    def restore_training_state(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Put `training_state` back.

        Raises:
            RunError: a variable is missing or has another shape; all of them at once.
        """
        targets = {
            f"optimizer/{index:04d}": variable
            for index, variable in enumerate(self.optimizer.variables)
        }
        stored = {name for name in tensors if name.startswith("optimizer/")}
        faults = [f"{name} is missing" for name in sorted(targets.keys() - stored)]
        faults += [f"{name} belongs to nothing" for name in sorted(stored - targets.keys())]
        faults += [
            f"{name} ({variable.path}) has shape {tensors[name].shape}, expected "
            f"{tuple(variable.shape)}"
            for name, variable in targets.items()
            if name in stored and tuple(tensors[name].shape) != tuple(variable.shape)
        ]
        if faults:
            raise RunError(collected("the checkpoint does not fit this run", faults))
        for name, variable in targets.items():
            variable.assign(tensors[name])
        self.restore_step_state(tensors)

    def validate(self, windows: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
        """Token-weighted loss and accuracy on windows, without dropout.

        Returns:
            `loss` (nats a supervised token), `accuracy`, `supervised_tokens`.
        """
        total = np.zeros(3)
        for window in windows:
            total += np.asarray([float(value) for value in self.validation_sums(window)])
        loss, correct, tokens = total
        return {
            "loss": loss / max(tokens, 1),
            "accuracy": correct / max(tokens, 1),
            "supervised_tokens": int(tokens),
        }
