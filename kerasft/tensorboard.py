"""TensorBoard's event files of a run, where its recipe asks for them.

They repeat what metrics.jsonl has. tensorboardX writes them: the writers of torch and of Keras
import TensorFlow, which kerasft never does. Whatever trains tells a `Reporter` of each step and
each validation once its numbers are on the host, so that one kind of reporter serves every
engine and none waits for the device.
"""

import contextlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kerasft.console import Reporter
from kerasft.errors import KerasftError
from kerasft.recipe import Recipe
from kerasft.runs import RunFolder

SCALARS = (
    "loss",
    "accuracy",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "peak_memory_bytes",
)
"""Fields of metrics.jsonl that are drawn, below `train/`."""


def check_tensorboard(recipe: Recipe) -> None:
    """Refuse, before anything is loaded, what could not be written.

    Raises:
        KerasftError: the recipe asks for TensorBoard, and tensorboardX is not installed.
    """
    if recipe.train.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise KerasftError(
            "train.tensorboard = true needs tensorboardX, which is not installed: "
            "`pip install 'kerasft[tensorboard]'`, or leave it out with "
            "--set train.tensorboard=false"
        )


@contextlib.contextmanager
def logged(
    run: RunFolder, recipe: Recipe, reporter: Reporter, last_step: int
) -> Iterator[Reporter]:
    """A reporter that writes RUN/tensorboard/ too, where the recipe asks for it.

    Args:
        run: whose folder.
        recipe: of the run.
        reporter: told everything as before.
        last_step: that the run goes on after; 0 for a new one. TensorBoard drops what an
            earlier process wrote of later steps.
    """
    if not recipe.train.tensorboard:
        yield reporter
        return
    from tensorboardX import SummaryWriter

    first = last_step + 1 if last_step else 0  # a new run has a validation of step 0
    folder = str(run.path / "tensorboard")
    # Files are named by the second, and a run may be gone on with in the same one.
    with SummaryWriter(folder, purge_step=first, filename_suffix=f".{first}") as writer:
        yield TensorBoardReporter(reporter, writer)


class TensorBoardReporter:
    """A reporter whose steps and validations are written as scalars, and told to another one.

    Args:
        reporter: told everything.
        writer: a `tensorboardX.SummaryWriter`.
    """

    def __init__(self, reporter: Reporter, writer: Any) -> None:
        self._reporter = reporter
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)

    def step(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""
        self._reporter.step(line)
        for name in SCALARS:
            self._add(f"train/{name}", line.get(name), line["step"])

    def validated(self, step: int, result: Mapping[str, float]) -> None:
        """A validation."""
        self._reporter.validated(step, result)
        for name in ("loss", "accuracy"):
            self._add(f"validation/{name}", result.get(name), step)
        self._writer.flush()

    def _add(self, tag: str, value: float | None, step: int) -> None:
        # metrics.jsonl has null where a number is not finite.
        if value is not None and math.isfinite(value):
            self._writer.add_scalar(tag, value, step)
