"""Going on with what an earlier session left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kerasft import locking
from kerasft.errors import KerasftError
from kerasft.recipe import Recipe
from kerasft.resuming import MAY_CHANGE, flat, refused
from kerasft.runs import RunFolder, is_run

_DEEPEST = 6
"""Levels below the inputs where a run is looked for: Kaggle has mounted a notebook's output
two and four levels deep, and an output may hold folders of its own."""


def put_in_place(run: Path, recipe: Recipe, earlier: Path | None = None) -> bool:
    """See to it that `run` is what an earlier session left of this recipe, if it left any.

    A run of another recipe, or one whose checkpoints are damaged, is set aside, never deleted.

    Args:
        run: where the run folder is to be.
        recipe: what is to be trained.
        earlier: where outputs of earlier sessions lie, read-only.

    Returns:
        Whether there is a run to go on with.
    """
    if run.exists():
        fault = why_not(run, recipe)
        if not fault:
            return True
        aside = _free(run)
        run.rename(aside)
        print(f"{run} is not gone on with, because {fault}; it is now {aside}.")
    best: tuple[int, Path] | None = None
    for folder in runs_below(earlier) if earlier is not None else ():
        fault = why_not(folder, recipe)
        if fault:
            print(f"{folder} is not gone on with, because {fault}.")
            continue
        steps = RunFolder.open(folder).record().get("steps") or 0
        if best is None or steps > best[0]:
            best = steps, folder
    if best is None:
        print("No earlier session left this run: it is started.")
        return False
    copy_run(best[1], run)
    print(f"Going on with {best[1]}, {best[0]} steps old.")
    return True


def why_not(folder: Path, recipe: Recipe) -> str:
    """Why a run cannot be gone on with by this recipe, in part of a sentence; "" if it can."""
    from kerasft.engine import checkpoint

    if not is_run(folder):
        return "it is not a run folder"
    try:
        run = RunFolder.open(folder)
        others = refused(flat(run.recipe()), flat(recipe))
        if others:
            return f"it is a run of another recipe: {', '.join(others)}"
        found, damaged = checkpoint.latest(run.checkpoints)
        if found is None and damaged:
            return "none of its checkpoints is whole"
    except KerasftError as error:
        return str(error)
    return ""


def changed(run: Path, recipe: Recipe) -> dict[str, str]:
    """What of a run's settings is other in a recipe and may be: dotted names, TOML values."""
    old, new = flat(RunFolder.open(run).recipe()), flat(recipe)
    return {
        name: json.dumps(new[name], ensure_ascii=False)
        for name in sorted(MAY_CHANGE & new.keys())
        if new[name] is not None and old.get(name) != new[name]
    }


def runs_below(folder: Path) -> Iterator[Path]:
    """Run folders below a folder, not those inside of others."""
    for path, folders, _ in os.walk(folder):
        here = Path(path)
        if is_run(here):
            yield here
            folders.clear()
        elif len(here.relative_to(folder).parts) >= _DEEPEST:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def copy_run(source: Path, target: Path) -> None:
    """Copy a run folder from a read-only place, so that it appears whole or not at all."""
    staged = target.with_name(f".{target.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.name == locking.NAME:
            continue  # of a process that is no more
        # Contents alone: the modes of an input would leave folders that cannot be written.
        if path.is_dir():
            (staged / relative).mkdir(parents=True, exist_ok=True)
        else:
            (staged / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged / relative)
    staged.rename(target)


def _free(run: Path) -> Path:
    number = 1
    while (aside := run.with_name(f"{run.name}-before-{number}")).exists():
        number += 1
    return aside
