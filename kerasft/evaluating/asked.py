"""What an evaluation is asked for."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasft.errors import KerasftError, collected
from kerasft.recipe import Overrides, Recipe


@dataclass(frozen=True)
class Asked:
    """What an evaluation was asked for; the arguments of `evaluate`."""

    run_or_model: str
    recipe: str | Recipe | None
    data: str | None
    db: str | None
    split: str | None
    limit: int | None
    base: bool
    perplexity: bool
    forgetting: str | None
    retry: int
    judge: str | None
    judge_model: str | None
    judge_prices: tuple[float, float] | None
    out: str | None
    backend: str | None
    settings: Overrides

    def command(self) -> str:
        """The command line that asks for the same."""
        named = {
            "--recipe": self.recipe if isinstance(self.recipe, str) else None,
            "--data": self.data,
            "--db": self.db,
            "--split": self.split,
            "--limit": self.limit,
            "--forgetting": self.forgetting,
            "--retry": self.retry or None,
            "--judge": self.judge,
            "--judge-model": self.judge_model,
            "--out": self.out,
            "--backend": self.backend,
        }
        words = ["kerasft", "eval", self.run_or_model]
        for name, value in named.items():
            words += [] if value is None else [name, str(value)]
        if self.judge_prices is not None:
            words += ["--judge-prices", *map(str, self.judge_prices)]
        words += ["--base"] if self.base else []
        words += [] if self.perplexity else ["--no-perplexity"]
        pairs = self.settings
        if isinstance(pairs, Mapping):
            pairs = [f"{name}={json.dumps(value)}" for name, value in pairs.items()]
        for text in pairs:
            words += ["--set", text]
        return shlex.join(words)


def check(wanted: Asked, task: str, tuned_for: str | None, own: Path | None) -> Path:
    """See that what was asked for goes together.

    Args:
        wanted: what was asked for.
        task: of the rows.
        tuned_for: the run's own task; None where a bare model is scored.
        own: the run's own folder for results; None where a bare model is scored.

    Returns:
        The folder where the results go.

    Raises:
        KerasftError: all faults at once.
    """
    faults = []
    folder = Path(wanted.out) if wanted.out else own
    if folder is None:
        faults.append(f"{wanted.run_or_model} is no run; say with --out where the results go")
    elif not _writable(folder.absolute()):
        faults.append(f"{folder} cannot be written to; give another folder with --out")
    if own is None and wanted.forgetting is not None:
        faults.append("--forgetting compares a tuned model with its base: give a run")
    if tuned_for not in (None, task):
        faults.append(
            f"the run was tuned for {tuned_for} and the recipe's rows are of {task}: "
            "--forgetting weighs those"
        )
    if wanted.limit is not None and wanted.limit < 0:
        faults.append(f"--limit is a number of rows, or 0 for all, not {wanted.limit}")
    if wanted.db is not None and wanted.data is None:
        faults.append("--db needs --data: a JSONL file of question and sql about that database")
    if wanted.db is not None and task != "text_to_sql":
        faults.append(f"--db is for text_to_sql, and the task is {task}")
    if wanted.retry and task != "text_to_sql":
        faults.append(f"--retry tries SQL again, and the task is {task}")
    if wanted.retry < 0:
        faults.append(f"--retry is the width of a beam, 1 or more, not {wanted.retry}")
    if (wanted.judge is None) != (wanted.judge_model is None):
        faults.append("--judge URL and --judge-model NAME go together")
    if wanted.judge_prices is not None and wanted.judge is None:
        faults.append("--judge-prices needs --judge")
    if faults or folder is None:
        alone = len(faults) == 1
        raise KerasftError(faults[0] if alone else collected("this cannot be evaluated", faults))
    return folder


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or it can be made, as far as rights tell."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError:  # a name that is too long, or a folder that may not be looked into
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
