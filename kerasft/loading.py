"""`load`: a trained model to ask, from Python."""

from pathlib import Path
from typing import TYPE_CHECKING

from kerasft import backend as backends
from kerasft.runs import RunFolder

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel


def load(run: str | Path, *, backend: str | None = None, dtype: str | None = None) -> "LoadedModel":
    """The model of a run: its base, with its adapter on it.

    Args:
        run: a run folder.
        backend: the run's own where not given.
        dtype: of the base; the run's own where not given.

    Raises:
        KerasftError: there is no such run, it has no adapter, or its base cannot be had.
    """
    recorded = RunFolder.open(Path(run)).record().get("backend")
    backends.select(backend or recorded or backends.DEFAULT)
    from kerasft.engine.loaded import load_run

    return load_run(run, dtype=dtype)
