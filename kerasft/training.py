"""`train`: from a recipe to a run folder, and from a stopped run onwards."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft import backend as backends
from kerasft import budget, engines
from kerasft.auto_batch import with_smaller_batches
from kerasft.console import Reporter, SilentReporter
from kerasft.determinism import make_deterministic
from kerasft.disk import run_bytes
from kerasft.errors import KerasftError, RunError, collected
from kerasft.locking import RunLock
from kerasft.memory import remat_saves
from kerasft.out_of_memory import explained, step_remedies
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import Recipe, load, override, to_toml
from kerasft.records import write_text
from kerasft.resuming import accepted, flat, identity_faults, refused, schedule_note
from kerasft.runs import RunFolder
from kerasft.stopping import SIGNAL, Stopped, StopRequests
from kerasft.tensorboard import check_tensorboard, logged

if TYPE_CHECKING:
    import keras

    from kerasft.engine.checkpoint import Checkpoint

Callbacks = Sequence["keras.callbacks.Callback"] | Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class TrainResult:
    """What `train` gives back.

    Attributes:
        run: the run folder.
        status: `finished` or `stopped`.
        why: in a sentence, where it stopped early.
        record: run.json as it was written last.
        stopped_by: `signal` or `time budget` where it was stopped, else empty.
    """

    run: RunFolder
    status: str
    why: str
    record: Mapping[str, Any]
    stopped_by: str = ""


def train(
    recipe: str | Path | Recipe,
    *,
    backend: str = backends.DEFAULT,
    engine: str = engines.DEFAULT,
    out: str | Path | None = None,
    callbacks: Callbacks = (),
    reporter: Reporter | None = None,
    auto_batch: bool = False,
    **settings: Any,
) -> TrainResult:
    """Fine-tune by a recipe.

    Args:
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`.
        backend: `torch` or `jax`; Keras must not be imported with another one.
        engine: `keras`; or a twin on torch, `hf` for transformers and PEFT, `trl` for TRL's
            SFTTrainer, in a process that has not imported Keras.
        out: the run folder; `runs/RECIPE-DATE-TIME` where not given.
        callbacks: Keras callbacks, or a function that makes them once Keras has its
            backend; of the engine `keras`. One with `get_state()` and `set_state(state)`
            finds its state again in a resumed run that is given its like.
        reporter: told what happens; silent where not given.
        auto_batch: where memory runs out before the first checkpoint, start again with
            fewer rows a micro-batch and as many an optimizer step.
        settings: overrides by dotted name, such as `**{"train.max_steps": 200}`.

    Returns:
        The run, also when it was stopped by Ctrl-C or by its time budget.

    Raises:
        KerasftError: explains itself. Nothing heavy is loaded before recipe, rows and
            output folder have been checked.
    """
    began = budget.clock()
    name = "recipe" if isinstance(recipe, Recipe) else Path(recipe).stem
    recipe = _resolved(recipe, settings)
    engines.check(engine, backend, recipe, callbacks=bool(callbacks))
    check_tensorboard(recipe)
    backends.select(backend)
    reporter = reporter or SilentReporter()
    prepared = prepare(recipe, reporter)
    room = run_bytes(recipe, prepared.total_steps)
    run = RunFolder.create(Path(out) if out else None, recipe, name, room_bytes=room)

    def attempt(prepared: Prepared) -> TrainResult:
        return _train(run, prepared, engine, backend, callbacks, reporter, None, began)

    with RunLock(run.path):
        if auto_batch:
            return with_smaller_batches(attempt, prepared, run, reporter)
        return attempt(prepared)


def resume(
    path: str | Path,
    *,
    backend: str | None = None,
    callbacks: Callbacks = (),
    reporter: Reporter | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Go on with a run from its last complete checkpoint, by the engine that began it.

    On the machine and backend of the run it ends with the weights of a run that was never
    stopped, bit for bit; on a GPU with `train.deterministic`.

    Args:
        path: the run folder.
        backend: the run's own where not given.
        callbacks, reporter: as for `train`.
        settings: overrides by dotted name, of those that may change:
            `kerasft.resuming.MAY_CHANGE`.

    Raises:
        RunError: another process has the run, all its checkpoints are damaged, it is
            finished and not made longer, its engine keeps no checkpoints, or its data or
            other settings are not what they were.
    """
    began = budget.clock()
    run = RunFolder.open(Path(path))
    with RunLock(run.path):
        return _resume(run, backend, callbacks, reporter or SilentReporter(), settings or {}, began)


def _resume(
    run: RunFolder,
    backend: str | None,
    callbacks: Callbacks,
    reporter: Reporter,
    settings: Mapping[str, Any],
    began: float,
) -> TrainResult:
    from kerasft.engine import checkpoint
    from kerasft.models import adapter

    record, stored = run.record(), run.recipe()
    recipe = override(stored, settings)
    if record.get("status") == "finished" and not settings:
        raise RunError(
            f"{run.path} is finished; `kerasft eval {run.path}` scores it, and more epochs are "
            "trained with --resume and --set train.epochs=…"
        )
    engine = record.get("engine") or engines.DEFAULT
    if engine == "trl":
        raise RunError(
            f"{run.path} was trained by TRL, whose runs keep no checkpoints of kerasft: start it "
            "anew with `kerasft train --engine trl`"
        )
    backend = backend or record.get("backend") or backends.DEFAULT
    engines.check(engine, backend, recipe, callbacks=bool(callbacks))
    check_tensorboard(recipe)
    backends.select(backend)
    checkpoint.recover(run.checkpoints)
    adapter.recover(run.adapter)
    found, notes = checkpoint.latest(run.checkpoints)
    for note in notes:
        reporter.note(note)
    if found is None and notes:
        raise RunError(f"{run.path} has no complete checkpoint to go on from; start it anew")
    prepared = prepare(recipe, reporter)
    _check(run, prepared, found, finished=record.get("status") == "finished")
    if found is None:
        reporter.note("there is no checkpoint yet: starting with the first step")
    else:
        changes = accepted(found.state["recipe"], flat(recipe))
        schedule = recipe.train.schedule
        ends = schedule_note(schedule, found.state["planned_steps"], prepared.total_steps)
        for note in [*changes, *([ends] if ends else [])]:
            reporter.note(note)
    run.check_room(run_bytes(recipe, prepared.total_steps))
    if recipe != stored:
        write_text(run.recipe_file, to_toml(recipe))
    return _train(run, prepared, engine, backend, callbacks, reporter, found, began)


def _check(run: RunFolder, prepared: Prepared, found: "Checkpoint | None", finished: bool) -> None:
    """Refuse to go on with other rows, other settings, or nothing to do."""
    if found is None:
        return
    state = found.state
    faults = refused(state["recipe"], flat(prepared.recipe))
    faults += identity_faults(state["identity"], prepared.identity())
    if faults:
        raise RunError(
            collected(f"{run.path} cannot go on: what it trains on or how has changed", faults)
            + "\nPut that back, or start a new run"
        )
    if prepared.total_steps < found.step or (finished and prepared.total_steps == found.step):
        raise RunError(
            f"{run.path} has done {found.step:,} steps, and now ends with step "
            f"{prepared.total_steps:,}: raise train.epochs or train.max_steps"
        )


def _resolved(recipe: str | Path | Recipe, settings: Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        return override(recipe, settings)
    return load(str(recipe), settings)


def _train(
    run: RunFolder,
    prepared: Prepared,
    engine: str,
    backend: str,
    callbacks: Callbacks,
    reporter: Reporter,
    start: "Checkpoint | None",
    began: float,
) -> TrainResult:
    _, rows, length, _ = prepared.windows.largest_shape
    shape = f"{rows} × {length:,} tokens a micro-batch"

    def remedies() -> list[str]:
        record = run.record()
        on_cpu = record.get("device", {}).get("kind") == "cpu"
        kept = record.get("remat") != "block"
        return step_remedies(prepared.recipe.train, kept and remat_saves(backend, on_cpu))

    try:
        with (
            StopRequests(reporter) as requests,
            explained(f"training on {shape}", remedies, of_step=True),
            logged(run, prepared.recipe, reporter, start.step if start else 0) as told,
        ):
            return _run(run, prepared, engine, backend, callbacks, told, start, began, requests)
    except Stopped:
        why = "asked to stop between two stages; go on with --resume"
        run.end("stopped", why, stopped_by=SIGNAL)
        return TrainResult(run, "stopped", why, run.record(), SIGNAL)
    except KeyboardInterrupt:
        run.end("stopped", "interrupted twice", stopped_by=SIGNAL)
        raise
    except Exception as error:
        # The disk that failed the run may refuse the record of it too.
        why = str(error) if isinstance(error, KerasftError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(RunError):
            run.end("failed", why)
        raise


def _run(
    run: RunFolder,
    prepared: Prepared,
    engine: str,
    backend: str,
    callbacks: Callbacks,
    reporter: Reporter,
    start: "Checkpoint | None",
    began: float,
    requests: StopRequests,
) -> TrainResult:
    attempts = run.record().get("attempts", 0) + 1
    run.update_run(status="running", engine=engine, backend=backend, attempts=attempts)
    with requests.nothing_to_lose():
        if prepared.recipe.train.deterministic:
            make_deterministic(backend)
        from kerasft.trainer import Trainer

        learner = engines.load_learner(engine, prepared, backend, reporter, fresh=start is None)
        trainer = Trainer(run, prepared, learner, backend, reporter, requests, start, began)
        trainer.answer_before()
        made = callbacks() if callable(callbacks) else callbacks
    outcome = trainer.fit(made)
    if outcome.status == "finished":
        with requests.nothing_to_lose():
            trainer.answer_after()
    run.end(outcome.status, outcome.why, stopped_by=outcome.stopped_by)
    return TrainResult(run, outcome.status, outcome.why, run.record(), outcome.stopped_by)
