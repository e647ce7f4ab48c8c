"""Trained models in the formats that other programs load, each with its proof."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kerasft.errors import RunError

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel
    from kerasft.export.hf import Written
    from kerasft.export.verify import Verification

FORMATS = {"hf": "kerasft.export.hf:write_hf"}
"""Format → the function that writes it: (model, folder, dtype=…) → Written."""


@dataclass(frozen=True)
class Exported:
    """An export that is in its place.

    Attributes:
        folder: where it is.
        written: its files and tensors.
        verification: the proof, which is also in `verification.json`.
    """

    folder: Path
    written: Written
    verification: Verification


def export_run(
    run: str | Path,
    to: str,
    out: str | Path,
    dtype: str | None = None,
    backend: str | None = None,
) -> Exported:
    """Merge a run's adapter into its base, write it, and prove that it is the trained model.

    The folder is made beside `out` and takes its place only when the proof holds.

    Args:
        run: a run folder.
        to: a format of `FORMATS`.
        out: a new folder, or an empty one.
        dtype: of the weights; the one that the base was trained on if None.
        backend: that computes the live model's answers; the run's if None.

    Raises:
        ExportError: `out` is not free, the model cannot be written, or the proof failed.
        KerasftError: the run or its base cannot be loaded.
    """
    from kerasft.export.card import write_card
    from kerasft.export.staging import check_free, staged_folder
    from kerasft.export.verify import verify_folder

    run, out = Path(run), Path(out)
    check_free(out)
    write = _writer(to)
    model = load_as_trained(run, backend)
    with staged_folder(out) as folder:
        written = write(model, folder, dtype=dtype or model.adapter.dtype)
        verification = verify_folder(model, folder)
        verification.require()
        write_card(folder, out.name, run, model, written, verification)
    return Exported(out, written, verification)


def verify_run(run: str | Path, folder: str | Path, backend: str | None = None) -> Verification:
    """Prove again that a folder is the model of a run; writes its `verification.json` anew.

    Args:
        run: a run folder.
        folder: a Hugging Face folder, exported here or elsewhere.
        backend: that computes the live model's answers; the run's if None.

    Raises:
        KerasftError: the run, its base, or the folder cannot be loaded. A failed proof is
            returned, not raised.
    """
    from kerasft.export.verify import verify_folder

    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; expected one that an export made.")
    return verify_folder(load_as_trained(Path(run), backend), folder)


def load_as_trained(run: Path, backend: str | None = None) -> LoadedModel:
    """A run's model that computes in float32 on the very weights that it was trained on.

    Rounding in the forward pass would hide what a merge does, so nothing is rounded but
    the base's weights, to the dtype that they had in training.
    """
    from kerasft.backend import select
    from kerasft.runs import RunFolder

    select(backend or RunFolder.open(run).record().get("backend") or "torch")
    from kerasft.engine.loaded import load_run
    from kerasft.export.safetensors_writer import numpy_dtype

    model = load_run(run, dtype="float32")
    if model.adapter.dtype != "float32":
        import keras

        trained = numpy_dtype(model.adapter.dtype)
        for spec in model.family.tensors(model.config):
            variable = spec.variable(model.causal_lm.backbone)
            array = keras.ops.convert_to_numpy(variable)
            variable.assign(array.astype(trained).astype("float32"))
    return model


def _writer(to: str) -> Callable[..., Written]:
    module, _, name = FORMATS[to].partition(":")
    return getattr(importlib.import_module(module), name)
