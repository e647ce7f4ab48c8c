"""`python -m kerasft.compare.probe RUN OUT`: measure a run for the parity gate.

Works on any run folder, after the fact: the base, the rows and the recipe must still be there.
A process of its own, since it loads the run's engine and backend.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerasft import backend as backends
from kerasft import engines
from kerasft.compare.probes import key_of
from kerasft.compare.probing import Probe, Side, measure
from kerasft.console import SilentReporter
from kerasft.errors import RunError
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import override
from kerasft.runs import RunFolder


def probe(run: RunFolder) -> Probe:
    """Measure a run with the engine, backend and type that it was trained with.

    Raises:
        KerasftError: its rows or its base are not what they were, or cannot be had.
    """
    record = run.record()
    engine, backend, dtype = (record.get(name) for name in ("engine", "backend", "dtype"))
    if not (engine and backend and dtype):
        raise RunError(f"{run.path} ended before its model was loaded: there is nothing to compare")
    prepared = prepare(override(run.recipe(), _plainly(record)), SilentReporter())
    trained_on = record["data"]["content_hash"]
    if prepared.dataset.content_hash != trained_on:
        raise RunError(
            f"{run.path} was trained on rows with hash {trained_on}, and {prepared.dataset.source} "
            f"has {prepared.dataset.content_hash} now: put the rows back, or train it again"
        )
    with _exact(engine, backend, dtype):
        side = side_of(engine, backend, prepared)
        if side.fingerprint != record["base"]["fingerprint"]:
            raise RunError(
                f"{run.path} was trained on a base with fingerprint "
                f"{record['base']['fingerprint']}, and {prepared.recipe.model.preset} has "
                f"{side.fingerprint} now: put the base back, or train it again"
            )
        return measure(side, key=key_of(run), engine=engine, backend=backend, dtype=dtype)


def side_of(engine: str, backend: str, prepared: Prepared) -> Side:
    """A run's model at its start, as its engine trains it.

    Raises:
        KerasftError: the engine cannot train this here, or the base cannot be had.
    """
    engines.check(engine, backend, prepared.recipe)
    backends.select(backend)
    learner: Any = engines.load_learner(engine, prepared, backend, SilentReporter(), fresh=True)
    if engine == "keras":
        from kerasft.compare.keras_side import KerasSide

        return KerasSide(learner, prepared)
    from kerasft.compare.hf_side import HfSide, TrlSide

    return (TrlSide if engine == "trl" else HfSide)(learner, prepared)


def _plainly(record: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not the run's: what does not change the numbers, and the dropout."""
    return {
        "lora.dropout": 0.0,
        "model.dtype": record["dtype"],
        "train.remat": "block" if record.get("remat") == "block" else "none",
        # Compiled or not, the step computes the same; compiling costs more than the probe.
        "train.compile": "off",
    }


@contextlib.contextmanager
def _exact(engine: str, backend: str, dtype: str) -> Iterator[None]:
    """float32 products in float32: JAX would take TF32 on a GPU, torch would not."""
    if (engine, backend, dtype) != ("keras", "jax", "float32"):
        yield
        return
    backends.select(backend)
    import jax

    with jax.default_matmul_precision("highest"):
        yield


def main() -> None:
    run, out = map(Path, sys.argv[1:])
    probe(RunFolder.open(run)).save(out)


if __name__ == "__main__":
    main()
