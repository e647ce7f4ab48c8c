"""`--auto-batch`: where a step does not fit, fewer rows at once and as many an optimizer step."""

import gc
import shutil
import sys
from collections.abc import Callable
from typing import TypeVar

from kerasft.console import Reporter
from kerasft.errors import OutOfMemory
from kerasft.out_of_memory import smaller_batch
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import Recipe, override, to_toml
from kerasft.records import write_text
from kerasft.runs import RunFolder

Result = TypeVar("Result")


def with_smaller_batches(
    attempt: Callable[[Prepared], Result], prepared: Prepared, run: RunFolder, reporter: Reporter
) -> Result:
    """Train, and where a step runs out of memory, start again with a smaller micro-batch.

    `batch_size` is divided and `gradient_accumulation` multiplied, so that a step has the
    same rows and, its loss being the token mean of the whole window, the same gradient. The
    run becomes the one that these settings would have given from the start: recipe.toml is
    written anew, and what the first attempt has left is removed. Once there is a checkpoint
    nothing is thrown away: the shortage ends the run.

    Args:
        attempt: trains from the start; leaves nothing of the model behind when it fails.
        prepared: the rows, with the recipe.
        run: where it is written.
        reporter: told of each change.

    Raises:
        OutOfMemory: one row at a time does not fit either, it was no step that did not fit,
            or the run has a checkpoint already.
    """
    while True:
        try:
            return attempt(prepared)
        except OutOfMemory as error:
            smaller = smaller_batch(prepared.recipe.train) if error.of_step else None
            if smaller is None or _last_checkpoint(run) > 0:
                raise
        # Here the error is gone, and with it the frames that held the model.
        told = ", ".join(f"{name} = {value}" for name, value in smaller.items())
        reporter.note(f"a step does not fit the memory; starting again with {told}")
        _release()
        recipe = override(prepared.recipe, smaller)
        _restart(run, recipe)
        prepared = prepare(recipe, reporter)


def _last_checkpoint(run: RunFolder) -> int:
    """The step of the newest checkpoint; 0 for none."""
    from kerasft.engine import checkpoint

    found, _ = checkpoint.latest(run.checkpoints)
    return 0 if found is None else found.step


def _restart(run: RunFolder, recipe: Recipe) -> None:
    """Make the folder that of a run that has not begun."""
    shutil.rmtree(run.adapter, ignore_errors=True)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    run.keep_metrics(0)
    write_text(run.recipe_file, to_toml(recipe))


def _release() -> None:
    """Give back what the framework keeps of a model that is gone."""
    gc.collect()
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()  # that of the attempt that did not fit
    if jax is not None:
        jax.clear_caches()
