"""`train`: from a recipe to a run folder, and from a stopped run onwards."""

import contextlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft import backend as backends
from kerasft.console import Reporter, SilentReporter
from kerasft.errors import RunError, collected
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import Recipe, load
from kerasft.runs import RunFolder
from kerasft.stopping import StopRequests
from kerasft.versions import versions

if TYPE_CHECKING:
    import keras

    from kerasft.engine.callbacks import Progress
    from kerasft.engine.checkpoint import Checkpoint


COMPILED_FROM = 50
"""Micro-batches from which on `compile = auto` compiles: it takes about half a minute on two
CPU cores, which a run of a few steps would spend for nothing, and is kept for later runs."""


@dataclass(frozen=True)
class TrainResult:
    """What `train` gives back.

    Attributes:
        run: the run folder.
        status: `finished` or `stopped`.
        why: in a sentence, where it stopped early.
        record: run.json as it was written last.
    """

    run: RunFolder
    status: str
    why: str
    record: Mapping[str, Any]


def train(
    recipe: str | Path | Recipe,
    *,
    backend: str = backends.DEFAULT,
    out: str | Path | None = None,
    callbacks: Sequence["keras.callbacks.Callback"] | Callable[[], Sequence[Any]] = (),
    reporter: Reporter | None = None,
    **settings: Any,
) -> TrainResult:
    """Fine-tune by a recipe.

    Args:
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`.
        backend: `torch` or `jax`; Keras must not be imported with another one.
        out: the run folder; `runs/RECIPE-DATE-TIME` where not given.
        callbacks: Keras callbacks, or a function that makes them once Keras has its
            backend.
        reporter: told what happens; silent where not given.
        settings: overrides by dotted name, such as `**{"train.max_steps": 200}`.

    Returns:
        The run, also when it was stopped by Ctrl-C.

    Raises:
        KerasftError: explains itself. Nothing heavy is loaded before recipe, rows and
            output folder have been checked.
    """
    name = "recipe" if isinstance(recipe, Recipe) else Path(recipe).stem
    recipe = _resolved(recipe, settings)
    backends.select(backend)
    reporter = reporter or SilentReporter()
    prepared = prepare(recipe, reporter)
    run = RunFolder.create(Path(out) if out else None, recipe, name)
    return _train(run, prepared, backend, callbacks, reporter, None)


def resume(
    path: str | Path,
    *,
    backend: str | None = None,
    callbacks: Sequence["keras.callbacks.Callback"] | Callable[[], Sequence[Any]] = (),
    reporter: Reporter | None = None,
) -> TrainResult:
    """Go on with a run from its last complete checkpoint.

    Args:
        path: the run folder.
        backend: the run's own where not given.
        callbacks, reporter: as for `train`.

    Raises:
        RunError: there is no checkpoint, the run is finished, or its data are not what
            they were.
    """
    from kerasft.engine import checkpoint

    run = RunFolder.open(Path(path))
    record = run.record()
    if record.get("status") == "finished":
        raise RunError(f"{path} is finished; `kerasft eval {path}` scores it")
    backend = backend or record.get("backend") or backends.DEFAULT
    backends.select(backend)
    reporter = reporter or SilentReporter()
    found, notes = checkpoint.latest(run.checkpoints)
    for note in notes:
        reporter.note(note)
    if found is None:
        raise RunError(f"{path} has no complete checkpoint to go on from; start it anew")
    prepared = prepare(run.recipe(), reporter)
    changed = [
        f"{key} was {found.state['identity'].get(key)!r}, it is {value!r}"
        for key, value in prepared.identity().items()
        if found.state["identity"].get(key) != value
    ]
    if changed:
        raise RunError(collected(f"{path} cannot go on: its data changed", changed))
    return _train(run, prepared, backend, callbacks, reporter, found)


def _resolved(recipe: str | Path | Recipe, settings: Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        from kerasft.recipe import override

        return override(recipe, settings)
    return load(str(recipe), settings)


def _train(
    run: RunFolder,
    prepared: Prepared,
    backend: str,
    callbacks: Sequence[Any] | Callable[[], Sequence[Any]],
    reporter: Reporter,
    start: "Checkpoint | None",
) -> TrainResult:
    try:
        with StopRequests(reporter) as requests:
            session = _Session(run, prepared, backend, reporter, start)
            return session.fit(callbacks() if callable(callbacks) else callbacks, requests)
    except KeyboardInterrupt:
        run.end("stopped", "interrupted twice")
        raise
    except Exception as error:
        run.end("failed", f"{type(error).__name__}: {error}")
        raise


class _Session:
    """One process's part of a run: the model, the fine-tuner and where it is."""

    def __init__(
        self,
        run: RunFolder,
        prepared: Prepared,
        backend: str,
        reporter: Reporter,
        start: "Checkpoint | None",
    ) -> None:
        from kerasft.engine.callbacks import Progress
        from kerasft.engine.device import chunk_bytes, current, resolve_dtype
        from kerasft.engine.finetuner import FineTuner
        from kerasft.engine.loaded import start_adapter
        from kerasft.memory import plan_step
        from kerasft.models.lora import attach
        from kerasft.models.sources import load_base

        self.run, self.prepared, self.reporter = run, prepared, reporter
        recipe = self.recipe = prepared.recipe
        self.dtype = resolve_dtype(recipe.model.dtype)
        self.device = current()
        with reporter.working(f"Loading {recipe.model.preset} in {self.dtype}"):
            self.base = load_base(recipe.model.preset, dtype=self.dtype)
        reporter.note(
            f"{self.base.family.name} weights are under the {self.base.licence}: "
            f"{self.base.licence_page}"
        )
        self.lora = attach(self.base.causal_lm, self.base.family, recipe.lora, recipe.train.seed)
        if recipe.lora.init_from and start is None:
            start_adapter(self.base, self.lora, recipe.lora.init_from)
        plan = plan_step(
            self.base.family,
            self.base.config,
            recipe,
            prepared.windows.largest_shape,
            dtype=self.dtype,
            backend=backend,
        )
        self.finetuner = FineTuner(
            self.base.causal_lm.backbone,
            self.base.family,
            self.lora,
            chunk_bytes=chunk_bytes(plan.remat),
            remat=plan.remat,
            compiled=_compiles(recipe, prepared.total_steps),
        )
        self.finetuner.prepare(recipe.train, prepared.total_steps)
        for note in self.finetuner.notes:
            reporter.note(note)
        if plan.remat:
            reporter.note("blocks are computed again in the backward pass (remat = block)")
        if plan.shortage:
            reporter.note(plan.shortage)
        self.progress = Progress()
        self.samples: list[dict[str, str]] = []
        self.validations: list[dict[str, float]] = []
        if start is not None:
            self._restore(start)
        run.update_run(
            status="running",
            why="",
            engine="keras",
            backend=backend,
            versions=versions(),
            device={"kind": self.device.kind, "name": self.device.name},
            dtype=self.dtype,
            seed=recipe.train.seed,
            data=prepared.summary(),
            base={
                "preset": recipe.model.preset,
                "id": self.base.base_id,
                "fingerprint": self.base.fingerprint,
            },
            parameters={
                "base": self.base.family.parameters(self.base.config),
                "trained": self.lora.parameters,
            },
            planned_steps=prepared.total_steps,
            padding_share=prepared.windows.padding_share,
            remat="block" if plan.remat else "none",
        )

    def fit(self, callbacks: Sequence[Any], requests: StopRequests) -> TrainResult:
        """Train to the end, or to the step after a request to stop."""
        from kerasft.engine.callbacks import (
            Checkpoints,
            EpochWindows,
            MetricsLog,
            RunCallbacks,
            Validation,
        )
        from kerasft.engine.device import peak_memory_bytes

        settings, progress, prepared = self.recipe.train, self.progress, self.prepared
        last_step, epoch_steps = prepared.total_steps, prepared.windows.steps_per_epoch
        self._answer("before")
        log = MetricsLog(self.finetuner, prepared.windows, self.run, progress, self.reporter.step)
        own: list[Any] = [log]
        validation = None
        if prepared.validation_windows is not None:
            validation = Validation(
                self.finetuner,
                prepared.validation_windows,
                progress,
                log,
                every=settings.validate_every,
                patience=settings.patience,
                results=self.validations,
                broken_off=lambda: (
                    requests.asked and progress.window > 0 and progress.step < last_step
                ),
                on_best=self._save_adapter,
                on_result=self.reporter.validated,
            )
            own.append(validation)
        # The user's see the validation, and a checkpoint has what they changed.
        checkpoints = Checkpoints(
            self.finetuner,
            progress,
            log,
            every=settings.checkpoint_every,
            epoch_ends=lambda: progress.window >= epoch_steps or progress.step >= last_step,
            save=self._save_checkpoint,
            stop_asked=lambda: requests.asked,
        )
        every = RunCallbacks(
            [*own, *callbacks, checkpoints],
            model=self.finetuner,
            epochs=settings.epochs,
            steps=epoch_steps,
            verbose=0,
        )
        with self.reporter.training(last_step, progress.step):
            ended = validation is not None and validation.stopped_early
            while progress.step < last_step and not (ended or requests.asked):
                epoch = progress.epoch
                with contextlib.closing(
                    EpochWindows(self.finetuner, prepared.windows, progress, last_step)
                ) as windows:
                    self.finetuner.fit(
                        windows,
                        initial_epoch=epoch,
                        epochs=epoch + 1,
                        callbacks=every,
                        verbose=0,
                        shuffle=False,
                    )
                ended = self.finetuner.stop_training
            every.finish()
        self.finetuner.sync()
        self._save_checkpoint()
        stopped = requests.asked and progress.step < last_step
        if validation is None or progress.best_loss is None:
            self._save_adapter()
        if not stopped:
            self._load_best(validation)
            self._answer("after")
        status, why = self._outcome(stopped, validation)
        lines = self.run.metrics()
        self.run.end(
            status,
            why,
            steps=progress.step,
            tokens=progress.tokens,
            supervised_tokens=progress.supervised_tokens,
            first_loss=lines[0]["loss"] if lines else None,
            last_loss=lines[-1]["loss"] if lines else None,
            validation=_validation_record(self.validations, progress),
            compilations={
                "count": len(self.finetuner.compilations),
                "seconds": sum(seconds for _, seconds in self.finetuner.compilations),
            },
            first_step_seconds=log.first_step_seconds,
            tokens_per_second=statistics.median(log.rates[1:] or log.rates or [0.0]),
            input_wait_share=progress.input_seconds / max(progress.seconds, 1e-9),
            peak_memory_bytes=peak_memory_bytes(),
            seconds=progress.seconds,
            samples=self.samples,
        )
        if lines:
            from kerasft.plots import loss_plot

            loss_plot(lines, self.validations, self.run.plots / "loss.png")
        return TrainResult(self.run, status, why, self.run.record())

    def _outcome(self, stopped: bool, validation: Any) -> tuple[str, str]:
        if stopped:
            return "stopped", "asked to stop; go on with --resume"
        if validation is not None and validation.stopped_early:
            return "finished", (
                f"no better validation loss in {self.recipe.train.patience} validations; the "
                f"adapter is that of step {self.progress.best_step}"
            )
        if self.progress.step < self.prepared.total_steps:
            return "finished", f"a callback ended it after step {self.progress.step}"
        return "finished", ""

    def _save_adapter(self) -> None:
        from kerasft.models.adapter import AdapterInfo, save

        info = AdapterInfo(
            preset=self.recipe.model.preset,
            base_id=self.base.base_id,
            fingerprint=self.base.fingerprint,
            family=self.base.family.name,
            dtype=self.dtype,
            task=self.recipe.task,
            template=self.prepared.template.to_dict(),
            lora=self.recipe.lora,
            step=self.progress.step,
        )
        save(self.run.adapter, self.lora.tensors(), info)

    def _load_best(self, validation: Any) -> None:
        """The answers after training are those of the adapter that was kept."""
        from kerasft.models.adapter import read_tensors

        if validation is not None and self.progress.best_step not in (0, self.progress.step):
            self.lora.assign(read_tensors(self.run.adapter))

    def _save_checkpoint(self) -> None:
        from kerasft.engine import checkpoint

        self.finetuner.sync()
        tensors = {f"adapter/{name}": value for name, value in self.lora.tensors().items()}
        tensors |= self.finetuner.training_state()
        state = {
            "progress": self.progress.state(),
            "identity": self.prepared.identity(),
            "samples": self.samples,
            "validations": self.validations,
        }
        checkpoint.save(
            self.run.checkpoints,
            self.progress.step,
            tensors,
            state,
            keep=self.recipe.train.keep_checkpoints,
        )

    def _restore(self, start: "Checkpoint") -> None:
        from kerasft.engine.callbacks import Progress

        adapter = {
            name.removeprefix("adapter/"): value
            for name, value in start.tensors.items()
            if name.startswith("adapter/")
        }
        self.lora.assign(adapter)
        self.finetuner.restore_training_state(start.tensors)
        self.progress = Progress(**start.state["progress"])
        self.samples = start.state["samples"]
        self.validations = start.state["validations"]
        self.run.keep_metrics(self.progress.step)
        self.reporter.note(f"going on after step {self.progress.step}")

    def _answer(self, when: str) -> None:
        """Answers to a few held-out rows, to be read beside each other."""
        from kerasft.data.prompts import stop_ids
        from kerasft.engine.decode import Decoder
        from kerasft.tasks import TASKS, task_row

        rows = [task_row(self.recipe.task, row) for row in self.prepared.sample_rows]
        if not rows or (when == "before" and self.samples):
            return
        tokenizer, template = self.base.tokenizer, self.prepared.template
        with self.reporter.working(f"Answering {len(rows)} held-out rows {when} training"):
            answers = Decoder(self.base.causal_lm, self.base.family, self.lora).generate(
                [self.prepared.prompt_ids(row) for row in rows],
                max_new_tokens=self.recipe.eval.max_new_tokens,
                stop_ids=stop_ids(template, tokenizer),
            )
        task = TASKS[self.recipe.task]
        texts = [tokenizer.decode(ids).strip() for ids in answers]
        if when == "before":
            self.samples = [
                {
                    "prompt": str(row[task.PROMPT_COLUMNS[0]]),
                    "expected": str(row[task.COMPLETION_COLUMN]),
                    "before": text,
                }
                for row, text in zip(rows, texts, strict=True)
            ]
        else:
            for sample, text in zip(self.samples, texts, strict=True):
                sample["after"] = text


def _compiles(recipe: Recipe, steps: int) -> bool:
    """Whether the step is compiled, where there is a compiler."""
    micro_batches = steps * recipe.train.gradient_accumulation
    return recipe.train.compile == "on" or (
        recipe.train.compile == "auto" and micro_batches >= COMPILED_FROM
    )


def _validation_record(
    results: Sequence[Mapping[str, float]], progress: "Progress"
) -> dict[str, Any] | None:
    if not results:
        return None
    return {
        "before": results[0]["loss"],
        "last": results[-1]["loss"],
        "best": progress.best_loss,
        "best_step": progress.best_step,
        "all": results,
    }
