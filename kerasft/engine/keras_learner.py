"""The engine `keras`: a KerasHub model, trained by `fit` on torch or JAX."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasft.console import Reporter
from kerasft.data.batching import Window, WindowSource
from kerasft.engine.callbacks import EpochWindows, RunCallbacks, arrays
from kerasft.engine.decode import Decoder
from kerasft.engine.device import chunk_bytes, current, resolve_dtype
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.hooks import Hooks
from kerasft.engine.loaded import start_adapter
from kerasft.engine.progress import Progress
from kerasft.engine.quantization import check_device
from kerasft.memory import plan_step
from kerasft.models import sources
from kerasft.models.lora import attach
from kerasft.preparation import Prepared
from kerasft.recipe import Recipe

COMPILED_FROM = 50
"""Micro-batches from which on `compile = auto` compiles: it takes about half a minute on two
CPU cores, which a run of a few steps would spend for nothing, and is kept for later runs."""


class KerasLearner:
    """See `kerasft.engine.learner.Learner`.

    Args:
        prepared: recipe and windows.
        backend: torch or jax, as selected.
        reporter: told what happens.
        fresh: whether training starts with the first step, and with `lora.init_from`.
    """

    engine = "keras"
    resumable = True
    packages = ()

    def __init__(
        self, prepared: Prepared, backend: str, reporter: Reporter, *, fresh: bool
    ) -> None:
        recipe = self._recipe = prepared.recipe
        self.dtype = resolve_dtype(recipe.model.dtype)
        self.device = current()
        quantization = recipe.model.quantization
        if quantization != "none":
            check_device(backend, quantization)
        with reporter.working(f"Loading {recipe.model.preset} in {self.dtype}"):
            preset, tokenizer = recipe.model.preset, prepared.tokenizer
            self.base = sources.load_base(preset, dtype=self.dtype, tokenizer=tokenizer)
        self._lora = attach(self.base.causal_lm, self.base.family, recipe.lora, recipe.train.seed)
        if recipe.lora.init_from and fresh:
            start_adapter(self.base, self._lora, recipe.lora.init_from)
        plan = plan_step(
            self.base.family,
            self.base.config,
            recipe,
            prepared.windows.largest_shape,
            dtype=self.dtype,
            backend=backend,
        )
        self.remat = plan.remat
        self.tuner = FineTuner(
            self.base.causal_lm.backbone,
            self.base.family,
            self._lora,
            chunk_bytes=chunk_bytes(plan.remat),
            remat=plan.remat,
            compiled=_compiles(recipe, prepared.total_steps),
            quantization=quantization,
        )
        self.tuner.prepare(recipe.train, prepared.total_steps)
        for note in self.tuner.notes:
            reporter.note(note)
        if plan.shortage:
            reporter.note(plan.shortage)

    @property
    def parameters(self) -> int:
        return self._lora.parameters

    def tensors(self) -> dict[str, np.ndarray]:
        return self._lora.tensors()

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._lora.assign(dict(tensors))

    def read(self, window: Window) -> dict[str, np.ndarray]:
        return arrays(window)

    def answer(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        self.tuner.restore_base()
        decoder = Decoder(self.base.causal_lm, self.base.family, self._lora)
        return decoder.generate(prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids)

    def train(
        self,
        windows: WindowSource,
        progress: Progress,
        last_step: int,
        hooks: Sequence[Hooks | Any],
        stop_asked: Callable[[], bool],
    ) -> None:
        every = RunCallbacks(
            hooks,
            model=self.tuner,
            epochs=self._recipe.train.epochs,
            steps=windows.steps_per_epoch,
            verbose=0,
        )
        ended = False
        while progress.step < last_step and not (ended or stop_asked()):
            epoch = progress.epoch
            with contextlib.closing(
                EpochWindows(self.tuner, windows, progress, last_step)
            ) as batches:
                self.tuner.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    callbacks=every,
                    verbose=0,
                    shuffle=False,
                )
            ended = self.tuner.stop_training
        self.tuner.restore_base()
        every.finish()


def _compiles(recipe: Recipe, steps: int) -> bool:
    """Whether the step is compiled, where there is a compiler."""
    micro_batches = steps * recipe.train.gradient_accumulation
    return recipe.train.compile == "on" or (
        recipe.train.compile == "auto" and micro_batches >= COMPILED_FROM
    )
