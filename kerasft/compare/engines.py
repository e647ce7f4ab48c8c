"""Training and scoring the contenders of a recipe, each in a process of its own.

Trainings are timed, so they run one after the other; scores are not, and may run together.

A comparison's folder keeps what is done, so that one that was cut goes on:

    OUT/
      runs/ENGINE-seed-N/   run folders as `kerasft train` writes them
      probes/               what the parity gate measured
      logs/                 the output of each process
      compare.json  report.html  …
"""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kerasft.bench.processes import run_module, run_modules
from kerasft.console import Reporter
from kerasft.engines import train_options
from kerasft.errors import KerasftError, RunError, collected
from kerasft.evaluating.asked import Asked
from kerasft.locking import held_by, is_locked
from kerasft.recipe import Recipe, load
from kerasft.records import read_json
from kerasft.report.words import count
from kerasft.resuming import flat
from kerasft.runs import RunFolder, is_run


@dataclass(frozen=True)
class Engine:
    """How a contender is trained: `--engine`, `--backend`, and whether it has checkpoints."""

    engine: str
    backend: str
    resumes: bool = True


ENGINES: Mapping[str, Engine] = {
    "keras-torch": Engine("keras", "torch"),
    "keras-jax": Engine("keras", "jax"),
    "hf": Engine("hf", "torch"),
    "trl": Engine("trl", "torch", resumes=False),
}
"""What can be compared, in the order in which it is told."""

LAYOUT = "lora.layout"
PEFT = "peft"

EVAL_BACKEND = "torch"
"""All adapters are scored by one stack, so that scores differ by the training alone."""


RUN_WORD = 2
"""Where the run stands in `kerasft eval RUN …`."""


@dataclass(frozen=True)
class Plan:
    """What is trained and scored.

    Attributes:
        recipe: a shipped name or a TOML file.
        overrides: `section.key=value` texts, as given.
        engines: of `ENGINES`.
        seeds: how many; the first is the recipe's `train.seed`, each other one higher.
        evaluations: what is asked of each finished run; its own folder stands for the run.
        out: the comparison's folder.
        jobs: how many runs are scored, and probed, at once.
    """

    recipe: str
    overrides: Sequence[str]
    engines: Sequence[str]
    seeds: int
    evaluations: Sequence[Asked]
    out: Path
    jobs: int = 1

    def settings(self, seed: int) -> list[str]:
        """The `--set` texts of a run."""
        layout = [] if any(_sets_layout(text) for text in self.overrides) else [f"{LAYOUT}={PEFT}"]
        return [*self.overrides, *layout, f"train.seed={seed}"]

    def all_seeds(self) -> list[int]:
        first = load(self.recipe, self.overrides).train.seed
        return [first + place for place in range(self.seeds)]

    def command(self, engines: Sequence[str]) -> str:
        """The line that does it again, with these engines."""
        words = ["kerasft", "compare", "--recipe", self.recipe, "--engines", ",".join(engines)]
        words += ["--seeds", str(self.seeds)]
        for text in self.overrides:
            words += ["--set", text]
        for asked in self.evaluations:
            words += ["--eval", shlex.join(shlex.split(asked.command())[RUN_WORD + 1 :])]
        words += [] if self.evaluations else ["--no-eval"]
        return shlex.join([*words, "--out", str(self.out)])

    def folder(self, engine: str, seed: int) -> Path:
        return self.out / "runs" / f"{engine}-seed-{seed}"

    def log(self, name: str) -> Path:
        return self.out / "logs" / f"{name}.log"


def check(plan: Plan) -> list[str]:
    """See that a plan can be carried out before anything is started.

    Returns:
        Notes for the reader of the comparison.

    Raises:
        KerasftError: the recipe is wrong, an engine cannot train its layout, or the folder
            holds runs of other settings.
    """
    given = load(plan.recipe, plan.overrides)
    seeds = plan.all_seeds()
    wanted = load(plan.recipe, plan.settings(seeds[0]))
    twins = [name for name in plan.engines if ENGINES[name].engine != "keras"]
    faults = []
    if wanted.lora.layout != PEFT and twins:
        faults.append(
            f"{', '.join(twins)} train the peft layout alone: leave {LAYOUT} out of --set"
        )
    for folder in sorted((plan.out / "runs").glob("*")):
        if is_run(folder):
            faults += _other_settings(folder, wanted)
    if faults:
        alone = len(faults) == 1
        raise KerasftError(faults[0] if alone else collected("this cannot be compared", faults))
    notes = []
    if given.lora.layout != wanted.lora.layout:
        notes.append(
            f"trained in the peft layout, which both stacks have; the recipe's own is "
            f"{given.lora.layout}"
        )
    if plan.evaluations:
        backends = sorted({asked.backend or EVAL_BACKEND for asked in plan.evaluations})
        notes.append(f"all adapters are scored by one stack: Keras on {' and '.join(backends)}")
    return notes


def _other_settings(folder: Path, wanted: Recipe) -> list[str]:
    old, new = flat(RunFolder(folder).recipe()), flat(wanted)
    old["train.seed"] = new["train.seed"]
    changed = [path for path in new if old.get(path) != new[path]]
    if not changed:
        return []
    return [
        f"{folder} was trained with another {', '.join(changed)}: give the settings that it has, "
        "or another --out"
    ]


def carry_out(plan: Plan, reporter: Reporter) -> dict[tuple[str, int], str]:
    """Train and score what is not there yet, and go on where one fails.

    Returns:
        By engine and seed, why it failed where it did.
    """
    failed: dict[tuple[str, int], str] = {}
    runs = [(name, seed) for seed in plan.all_seeds() for name in plan.engines]
    for name, seed in runs:
        why = _train(plan, name, seed, reporter)
        if why is not None:
            failed[name, seed] = why
            reporter.note(f"{name}, seed {seed}, failed: {why}")
    _score(plan, [run for run in runs if run not in failed], reporter)
    return failed


def _train(plan: Plan, name: str, seed: int, reporter: Reporter) -> str | None:
    """Train a run to its end; why it did not come to it."""
    folder, engine = plan.folder(name, seed), ENGINES[name]
    status = _status(folder)
    if status == "finished":
        return None
    if is_locked(folder):
        return f"{folder} is in use by {held_by(folder)}"
    if status is not None and engine.resumes and any((folder / "checkpoints").glob("step-*")):
        reporter.note(f"{name}, seed {seed}: going on from its checkpoint")
        arguments = ["train", "--resume", str(folder)]
    else:
        if folder.exists():
            shutil.rmtree(folder)
        arguments = train_arguments(plan, name, seed)
    log = plan.log(f"train-{folder.name}")
    with reporter.working(f"Training {name}, seed {seed}"):
        ended = run_module(["kerasft", *arguments], log)
    status = _status(folder)
    if status == "finished":
        return None
    why = RunFolder(folder).record().get("why") if status is not None else None
    return f"{why or ended.reason or status} (see {log})"


def train_arguments(plan: Plan, name: str, seed: int) -> list[str]:
    """What `kerasft` is given to train a run."""
    engine = ENGINES[name]
    words = ["train", "--recipe", plan.recipe, *train_options(engine.engine, engine.backend)]
    for text in plan.settings(seed):
        words += ["--set", text]
    return [*words, "--out", str(plan.folder(name, seed))]


def _score(plan: Plan, runs: Sequence[tuple[str, int]], reporter: Reporter) -> None:
    """Score runs as the plan asks, where that was not done; tell what failed."""
    tasks, names = [], []
    for name, seed in runs:
        for place, asked in enumerate(plan.evaluations, 1):
            words = _score_arguments(plan.folder(name, seed), asked)
            if words is not None:
                tasks.append((words, plan.log(f"eval-{name}-seed-{seed}-{place}")))
                names.append(f"{name}, seed {seed}")
    if not tasks:
        return
    together = f", {plan.jobs} at a time" if plan.jobs > 1 else ""
    with reporter.working(f"Scoring {count(len(tasks), 'run')}{together}"):
        endings = run_modules(tasks, plan.jobs)
    for name, (_, log), ended in zip(names, tasks, endings, strict=True):
        if ended.status != "ok":
            reporter.note(f"{name}, could not be scored: {ended.reason} (see {log})")


def _score_arguments(folder: Path, asked: Asked) -> list[str] | None:
    """What `kerasft` is given to score a run; None where it was scored so already."""
    asked = replace(asked, run_or_model=str(folder), backend=asked.backend or EVAL_BACKEND)
    words = shlex.split(asked.command())
    # The folder may lie elsewhere now; its evaluations are its own.
    options = words[RUN_WORD + 1 :]
    done = any(options == _options(file) for file in (folder / "eval").glob("*.json"))
    return None if done else words


def _options(file: Path) -> list[str]:
    """What an evaluation was asked for, its run left out."""
    try:
        return shlex.split(str(read_json(file).get("command", "")))[RUN_WORD + 1 :]
    except RunError:
        return []


def _status(folder: Path) -> str | None:
    """Of the run in a folder; None where there is none that can be read."""
    try:
        return str(RunFolder(folder).record().get("status")) if is_run(folder) else None
    except RunError:
        return None


def _sets_layout(text: str) -> bool:
    return text.partition("=")[0].strip() == LAYOUT
