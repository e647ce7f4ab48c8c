"""The engine `hf`: transformers and PEFT in a plain torch loop, on kerasft's windows."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kerasft.console import Reporter
from kerasft.data.batching import Window, WindowSource
from kerasft.engine.device import current, resolve_dtype
from kerasft.engine.hooks import Hooks
from kerasft.engine.prefetch import Prefetch
from kerasft.engine.progress import Progress
from kerasft.engine.recorder import Recorder
from kerasft.errors import RunError, collected
from kerasft.hf import adapter
from kerasft.hf.answers import greedy
from kerasft.hf.base import load_base
from kerasft.hf.models import trained_parameters
from kerasft.hf.step import MicroBatch, TrainStep, validation_sums
from kerasft.hf.windows import inputs
from kerasft.preparation import Prepared


@dataclass(frozen=True)
class ReadWindow:
    """A window as the loop takes it.

    Attributes:
        batches: its micro-batches, on the CPU.
        seeds: of torch's random numbers in each; empty without dropout.
    """

    batches: tuple[MicroBatch, ...]
    seeds: tuple[int, ...]


class HfTuner(Recorder):
    """The model in training; see `kerasft.engine.hooks.Tuner`.

    Args:
        model: transformers' model with PEFT's adapter.
        names: `PATH/a` and `PATH/b` → its parameter.
    """

    def __init__(self, model: torch.nn.Module, names: Mapping[str, torch.nn.Parameter]) -> None:
        self.model = model
        self.names = names
        self.input_seconds = 0.0
        self.stop_training = False
        self.compilations: list[tuple[str, float]] = []
        self.begin_recording()

    def sync(self) -> None:
        """The parameters hold the newest state already."""

    def validate(self, windows: Iterable[ReadWindow]) -> dict[str, float]:
        """Token-weighted loss and accuracy on windows, without dropout."""
        device = next(iter(self.names.values())).device
        sums, tokens = torch.zeros(2, device=device), 0
        self.model.eval()
        try:
            for window in windows:
                for batch in window.batches:
                    loss, correct, count = validation_sums(self.model, batch, device)
                    sums += torch.stack((loss, correct))
                    tokens += count
        finally:
            self.model.train()
        loss, correct = sums.tolist()
        return {
            "loss": loss / max(tokens, 1),
            "accuracy": correct / max(tokens, 1),
            "supervised_tokens": tokens,
        }


class LoopTuner(HfTuner):
    """The model in training by `TrainStep`.

    Args:
        model, names: as for `HfTuner`.
        step: that trains it.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        names: Mapping[str, torch.nn.Parameter],
        step: TrainStep,
    ) -> None:
        super().__init__(model, names)
        self._step = step

    def step(self, window: ReadWindow) -> None:
        """Train on a window and keep its metrics."""
        self.record(self._step(window.batches, window.seeds))

    def training_state(self) -> dict[str, np.ndarray]:
        """AdamW's moments of A and B as PEFT holds them, and the count of steps."""
        state = {"optimizer/step": np.asarray(self._step.steps, np.int64)}
        for name, moments in self._moments().items():
            for kind, value in moments.items():
                state[f"optimizer/{kind}/{name}"] = value.cpu().numpy()
        return state

    def restore_training_state(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Put `training_state` back.

        Raises:
            RunError: a moment is missing or has another shape; all of them at once.
        """
        expected = self.training_state()
        stored = {name for name in tensors if name.startswith("optimizer/")}
        faults = [f"{name} is missing" for name in sorted(expected.keys() - stored)]
        faults += [f"{name} belongs to nothing" for name in sorted(stored - expected.keys())]
        faults += [
            f"{name} has shape {tensors[name].shape}, expected {value.shape}"
            for name, value in expected.items()
            if name in stored and tensors[name].shape != value.shape
        ]
        if faults:
            raise RunError(collected("the checkpoint does not fit this run", faults))
        self._step.restart(int(tensors["optimizer/step"]))
        for name, moments in self._moments().items():
            for kind, value in moments.items():
                value.copy_(torch.from_numpy(tensors[f"optimizer/{kind}/{name}"]))

    def _moments(self) -> dict[str, dict[str, torch.Tensor]]:
        state = self._step.optimizer.state
        return {
            name: {"first": state[value]["exp_avg"], "second": state[value]["exp_avg_sq"]}
            for name, value in self.names.items()
        }


class HfLearner:
    """See `kerasft.engine.learner.Learner`.

    The base is in the recipe's type, the adapter in float32, as PEFT has it by default.
    `compile = "auto"` means eager, which is how this stack is run by its users; `on` sends the
    forward pass through `torch.compile`. `remat = "auto"` means none, `block` is
    transformers' gradient checkpointing. Dropout draws torch's random numbers, seeded by the
    window, so that a resumed run draws them again; they are not those of the engine keras.

    The quantisations that a recipe names are the engine keras's alone and bitsandbytes has none
    like them: a preset whose file is quantised is unpacked to the recipe's type, as there.

    Args:
        prepared: recipe and windows.
        reporter: told what happens.
        fresh: whether training starts with the first step, and with `lora.init_from`.
    """

    engine = "hf"
    resumable = True
    packages: tuple[str, ...] = ()

    def __init__(self, prepared: Prepared, reporter: Reporter, *, fresh: bool) -> None:
        recipe = self.recipe = prepared.recipe
        self.prepared = prepared
        self.dtype = resolve_dtype(recipe.model.dtype)
        self.device = current()
        with reporter.working(f"Loading {recipe.model.preset} in {self.dtype}"):
            preset, tokenizer = recipe.model.preset, prepared.tokenizer
            self.base = load_base(preset, self.dtype, tokenizer=tokenizer)
        self.model = adapter.attach(self.base, recipe.lora, recipe.train.seed)
        if fresh:
            adapter.start_from(self.model, self.base, recipe.lora)
        self._names = self.base.family, self.base.config
        self.remat = recipe.train.remat == "block"
        self.parameters = trained_parameters(self.model)
        reporter.note(f"transformers runs {self.base.attention} attention")
        self.tuner = self.made_tuner(reporter)

    def made_tuner(self, reporter: Reporter) -> HfTuner:
        """The tuner of this engine."""
        settings = self.recipe.train
        compiled = settings.compile == "on"
        reporter.note(
            "the forward pass is compiled"
            if compiled
            else "the step runs eagerly, as users of transformers run it"
        )
        if self.remat:
            self.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        step = TrainStep(
            self.model, settings, self.prepared.total_steps, compiled=compiled, counted=True
        )
        return LoopTuner(self.model, adapter.variables(self.model, *self._names), step)

    def tensors(self) -> dict[str, np.ndarray]:
        return adapter.tensors(self.model, *self._names)

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        adapter.assign(self.model, *self._names, tensors)

    def read(self, window: Window) -> ReadWindow:
        places = range(len(window.token_ids))
        return ReadWindow(
            tuple(inputs(window, place) for place in places),
            tuple(map(int, window.dropout_seeds)) if self.recipe.lora.dropout else (),
        )

    def answer(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        self.model.eval()
        try:
            return greedy(self.model, prompts, max_new_tokens, stop_ids)
        finally:
            self.model.train()

    def train(
        self,
        windows: WindowSource,
        progress: Progress,
        last_step: int,
        hooks: Sequence[Hooks | Any],
        stop_asked: Callable[[], bool],
    ) -> None:
        tuner, ended = self.tuner, False
        each(hooks, "on_train_begin")
        while progress.step < last_step and not (ended or stop_asked()):
            epoch, offset = progress.epoch, progress.window
            length = min(windows.steps_per_epoch - offset, last_step - progress.step)
            tuner.stop_training = False
            each(hooks, "on_epoch_begin", epoch)
            with contextlib.closing(
                Prefetch(
                    lambda index, epoch=epoch, offset=offset: self.read(
                        windows.window(epoch, offset + index)
                    ),
                    length,
                )
            ) as ready:
                for index in range(length):
                    began = time.monotonic()
                    window = ready[index]
                    tuner.input_seconds += time.monotonic() - began
                    tuner.step(window)
                    each(hooks, "on_train_batch_end", index)
                    if tuner.stop_training:
                        break
            each(hooks, "on_epoch_end", epoch)
            ended = tuner.stop_training


def each(hooks: Sequence[Any], name: str, *arguments: Any) -> None:
    """Call a method of every hook."""
    for hook in hooks:
        getattr(hook, name)(*arguments)
