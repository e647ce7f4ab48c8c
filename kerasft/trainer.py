"""One process's part of a run: the model, the fine-tuner, and where it is."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasft.budget import budget_of
from kerasft.console import Reporter
from kerasft.engine.callback_state import hand_back, states_of
from kerasft.errors import RunError
from kerasft.preparation import Prepared
from kerasft.resuming import flat, surroundings_note
from kerasft.run_numbers import run_numbers
from kerasft.runs import RunFolder
from kerasft.samples import Samples
from kerasft.stopping import TIME_BUDGET, StopRequests
from kerasft.versions import versions

if TYPE_CHECKING:
    from kerasft.engine.checkpoint import Checkpoint
    from kerasft.engine.learner import Learner
    from kerasft.engine.metrics_log import MetricsLog
    from kerasft.engine.saving import Checkpoints, CheckpointWriter
    from kerasft.engine.validation import Validation


@dataclass(frozen=True)
class Outcome:
    """How `Trainer.fit` ended: `finished` or `stopped`, a sentence, and who asked for it."""

    status: str
    why: str
    stopped_by: str


class Trainer:
    """Trains what an engine has loaded, from a state on, and keeps its run folder.

    Args:
        run: the run folder.
        prepared: recipe and windows.
        learner: of the engine.
        backend: torch or jax, as selected.
        reporter: told what happens.
        requests: asked after each step whether to stop.
        start: the checkpoint to go on from; None for the first step.
        began: `budget.clock()` at the start of the call.
    """

    def __init__(
        self,
        run: RunFolder,
        prepared: Prepared,
        learner: "Learner",
        backend: str,
        reporter: Reporter,
        requests: StopRequests,
        start: "Checkpoint | None",
        began: float,
    ) -> None:
        from kerasft.engine.progress import Incidents, Progress

        self.run, self.prepared, self.reporter = run, prepared, reporter
        self.requests, self.learner = requests, learner
        recipe = self.recipe = prepared.recipe
        self.base, device = learner.base, learner.device
        # Looked up once: a save should not wait for the packages' metadata.
        self.surroundings = {
            "versions": versions(learner.packages),
            "backend": backend,
            "device": device.name,
            "dtype": learner.dtype,
        }
        reporter.note(
            f"{self.base.family.name} weights are under the {self.base.licence}: "
            f"{self.base.licence_page}"
        )
        if learner.remat:
            reporter.note("blocks are computed again in the backward pass (remat = block)")
        self.budget = budget_of(recipe.train.time_budget, device.kind, began)
        self.progress = Progress()
        self.incidents = Incidents()
        self.samples = Samples(prepared, reporter, learner.answer)
        self.validations: list[dict[str, float]] = []
        self.callbacks: Sequence[Any] = ()
        self.callback_states: list[dict[str, Any]] = []
        if start is not None:
            self._restore(start)
        else:
            run.keep_metrics(0)
        run.update_run(
            status="running",
            why="",
            stopped_by="",
            engine=learner.engine,
            backend=backend,
            versions=self.surroundings["versions"],
            device={"kind": device.kind, "name": device.name},
            dtype=learner.dtype,
            quantization=recipe.model.quantization,
            seed=recipe.train.seed,
            data=prepared.summary(),
            base={
                "preset": recipe.model.preset,
                "id": self.base.base_id,
                "fingerprint": self.base.fingerprint,
            },
            parameters={
                "base": self.base.family.parameters(self.base.config),
                "trained": learner.parameters,
            },
            planned_steps=prepared.total_steps,
            padding_share=prepared.windows.padding_share,
            remat="block" if learner.remat else "none",
        )

    def answer_before(self) -> None:
        """What is measured of the base: answers to held-out rows."""
        self.samples.before()

    def fit(self, callbacks: Sequence[Any]) -> Outcome:
        """Train to the end, or to the step after a request to stop, and save.

        Args:
            callbacks: a user's, as the engine takes them; see `callback_state` for what a
                resumed run gives them back.

        Raises:
            RunError: a checkpoint cannot be written, or the numbers are not finite.
        """
        from kerasft.engine.metrics_log import MetricsLog
        from kerasft.engine.saving import Checkpoints, CheckpointWriter
        from kerasft.engine.spikes import WINDOW

        self.callbacks = callbacks
        for note in hand_back(callbacks, self.callback_states):
            self.reporter.note(note)
        settings, progress, windows = self.recipe.train, self.progress, self.prepared.windows
        last_step = self.prepared.total_steps
        earlier = [line["loss"] for line in self.run.metrics()[-WINDOW:]]
        tuner, saves = self.learner.tuner, self.learner.resumable
        log = MetricsLog(
            tuner,
            windows,
            self.run,
            progress,
            self.reporter.step,
            incidents=self.incidents,
            earlier_losses=[loss for loss in earlier if loss is not None],
            skips=settings.on_bad_step == "skip",
        )
        validation = self._validation(log)
        if validation is not None:
            with self._whole_until_now():
                validation.begin()
            validation.make_up()
        writer = CheckpointWriter(self.run.checkpoints, settings.keep_checkpoints)
        # The user's see the validation, and a checkpoint has what they changed.
        checkpoints = Checkpoints(
            tuner,
            progress,
            log,
            writer,
            every=settings.checkpoint_every if saves else 0,
            minutes=settings.checkpoint_minutes if saves else 0.0,
            epoch_ends=lambda: (
                progress.window >= windows.steps_per_epoch or progress.step >= last_step
            ),
            save=lambda: self._save_checkpoint(writer),
            stop_asked=lambda: self._should_stop(validation, checkpoints, writer),
        )
        own = [log] if validation is None else [log, validation]
        with contextlib.closing(writer), self.reporter.training(last_step, progress.step):
            if validation is None or not validation.stopped_early:
                self.learner.train(
                    windows,
                    progress,
                    last_step,
                    [*own, *callbacks, checkpoints],
                    lambda: self.requests.asked,
                )
            if saves:
                self._save_checkpoint(writer)
        stopped = self.requests.asked and (progress.step < last_step or progress.validation_owed)
        if validation is None or progress.best_loss is None:
            self._save_adapter()
        if not stopped:
            self._load_best(validation)
        self._record(log, checkpoints, writer)
        return self._outcome(stopped, validation)

    def answer_after(self) -> None:
        """Answers of the adapter that was kept; everything else of the run is saved by now."""
        self.samples.after()
        self.run.update_run(samples=self.samples.found)

    def _validation(self, log: "MetricsLog") -> "Validation | None":
        from kerasft.engine.validation import Validation

        if self.prepared.validation_windows is None:
            return None
        return Validation(
            self.learner.tuner,
            self.prepared.validation_windows,
            self.progress,
            log,
            every=self.recipe.train.validate_every,
            patience=self.recipe.train.patience,
            results=self.validations,
            last_step=self.prepared.total_steps,
            stop_asked=lambda: self.requests.asked,
            on_best=self._save_adapter,
            on_result=self.reporter.validated,
            read=self.learner.read,
        )

    def _whole_until_now(self) -> contextlib.AbstractContextManager[None]:
        """Around work before the first step, which a signal may break off at once."""
        if self.progress.step:
            return contextlib.nullcontext()
        return self.requests.nothing_to_lose()

    def _should_stop(
        self,
        validation: "Validation | None",
        checkpoints: "Checkpoints",
        writer: "CheckpointWriter",
    ) -> bool:
        """Whether a signal came, or the budget is short of what another step may lead to.

        That is the longest step so far, a validation, the answers and a save, as long as
        each took at its longest.
        """
        if self.requests.asked or self.budget is None:
            return self.requests.asked
        needed = checkpoints.longest_step + writer.seconds + self.samples.seconds
        needed += validation.seconds if validation is not None else 0.0
        if self.progress.step < self.prepared.total_steps and self.budget.is_short_of(needed):
            self.requests.ask(TIME_BUDGET)
            self.reporter.note(f"{self.budget.source} is nearly used up: saving, then stopping")
        return self.requests.asked

    def _outcome(self, stopped: bool, validation: "Validation | None") -> Outcome:
        again = "; go on with --resume" if self.learner.resumable else ""
        if stopped and self.requests.cause == TIME_BUDGET:
            assert self.budget is not None
            return Outcome("stopped", f"{self.budget.source} is used up{again}", TIME_BUDGET)
        if stopped:
            return Outcome("stopped", f"asked to stop{again}", self.requests.cause)
        if validation is not None and validation.stopped_early:
            why = (
                f"no better validation loss in {self.recipe.train.patience} validations; the "
                f"adapter is that of step {self.progress.best_step}"
            )
            return Outcome("finished", why, "")
        if self.progress.step < self.prepared.total_steps:
            return Outcome("finished", f"a callback ended it after step {self.progress.step}", "")
        return Outcome("finished", "", "")

    def _record(
        self, log: "MetricsLog", checkpoints: "Checkpoints", writer: "CheckpointWriter"
    ) -> None:
        """The numbers of the run so far, and their plot."""
        from kerasft.plots import loss_plot

        progress, lines = self.progress, self.run.metrics()
        numbers = run_numbers(
            lines, progress, self.validations, self.learner.tuner, log, checkpoints, writer
        )
        self.run.update_run(**numbers, samples=self.samples.found, **self.incidents.state())
        drawn = [line for line in lines if line["loss"] is not None]
        if drawn:
            loss_plot(drawn, self.validations, self.run.plots / "loss.png")

    def _save_adapter(self) -> None:
        from kerasft.models.adapter import AdapterInfo, save

        info = AdapterInfo(
            preset=self.recipe.model.preset,
            base_id=self.base.base_id,
            fingerprint=self.base.fingerprint,
            family=self.base.family.name,
            dtype=self.learner.dtype,
            task=self.recipe.task,
            template=self.prepared.template.to_dict(),
            lora=self.recipe.lora,
            step=self.progress.step,
        )
        save(self.run.adapter, self.learner.tensors(), info)

    def _load_best(self, validation: "Validation | None") -> None:
        """The answers after training are those of the adapter that was kept."""
        from kerasft.models.adapter import read_tensors

        if validation is not None and self.progress.best_step not in (0, self.progress.step):
            self.learner.assign(read_tensors(self.run.adapter))

    def _save_checkpoint(self, writer: "CheckpointWriter") -> None:
        self.learner.tuner.sync()
        tensors = {f"adapter/{name}": value for name, value in self.learner.tensors().items()}
        tensors |= self.learner.tuner.training_state()
        state = {
            "progress": self.progress.state(),
            "identity": self.prepared.identity(),
            "recipe": flat(self.recipe),
            "planned_steps": self.prepared.total_steps,
            "fingerprint": self.base.fingerprint,
            "surroundings": self.surroundings,
            "samples": self.samples.state(),
            "validations": self.validations,
            "incidents": self.incidents.state(),
            "callbacks": states_of(self.callbacks),
        }
        writer.put(self.progress.step, tensors, state)

    def _restore(self, start: "Checkpoint") -> None:
        from kerasft.engine.progress import Incidents, Progress

        state = start.state
        if state["fingerprint"] != self.base.fingerprint:
            raise RunError(
                f"{self.run.path} cannot go on: it was trained on a base with fingerprint "
                f"{state['fingerprint']}, and {self.recipe.model.preset} has "
                f"{self.base.fingerprint}; give the base that it began with"
            )
        note = surroundings_note(state["surroundings"], self.surroundings)
        if note:
            self.reporter.note(note)
        adapter = {
            name.removeprefix("adapter/"): value
            for name, value in start.tensors.items()
            if name.startswith("adapter/")
        }
        self.learner.assign(adapter)
        self.learner.tuner.restore_training_state(start.tensors)
        self.progress = Progress(**state["progress"])
        self.incidents = Incidents(**state["incidents"])
        self.samples.restore(state["samples"])
        self.validations = state["validations"]
        self.callback_states = state.get("callbacks", [])
        self.run.keep_metrics(self.progress.step)
        self.reporter.note(f"going on after step {self.progress.step}")
