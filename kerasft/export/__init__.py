"""Trained models in the formats that other programs load, each with its proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.errors import ExportError
from kerasft.export.formats import FORMATS, Format, format_of
from kerasft.export.push import push_folder

if TYPE_CHECKING:
    from kerasft.export.trained import TrainedWeights
    from kerasft.export.verify import Verification
    from kerasft.export.written import Written

__all__ = ["FORMATS", "Exported", "Format", "export_run", "format_of", "push_folder", "verify_run"]


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
    share_rank: int | None = None,
    with_base: bool = False,
) -> Exported:
    """Write a run's model in a format, and prove that it is the trained one.

    The folder is made beside `out` and takes its place only when the proof holds. Weights
    are read, merged and written tensor by tensor; a model is built only for the proof by
    logits, where it fits into memory.

    Args:
        run: a run folder.
        to: a format of `FORMATS`.
        out: a new folder, or an empty one.
        dtype: of the weights; the format's own if None, or the one that the base was
            trained on.
        backend: that computes the live model's answers; the run's if None.
        share_rank: for PEFT, one rank for every layer, by leaving out the smallest
            singular values; 0 for the adapter's own rank.
        with_base: for PEFT, the untouched base beside the adapter.

    Raises:
        ExportError: `out` is not free, the format does not hold the dtype or knows no
            such option, the model cannot be written, or the proof failed.
        KerasftError: the run or its base cannot be opened.
    """
    from kerasft.export.card import write_card
    from kerasft.export.staging import check_free, staged_folder
    from kerasft.export.verify import verify_folder

    run, out, form = Path(run), Path(out), _format(to)
    options = _options(form, share_rank=share_rank, with_base=with_base)
    if dtype is not None:
        form.check_dtype(dtype)
    check_free(out)
    weights, backend = _opened(run, backend)
    with staged_folder(out) as folder:
        dtype = dtype or form.default_dtype or weights.base_dtype
        written = form.load("writer")(weights, folder, dtype=dtype, **options)
        verification = verify_folder(weights, folder, live=_live(weights), backend=backend)
        verification.require()
        write_card(folder, out.name, run, weights, written, verification)
    return Exported(out, written, verification)


def verify_run(run: str | Path, folder: str | Path, backend: str | None = None) -> Verification:
    """Prove again that a folder is the model of a run; writes its `verification.json` anew.

    Args:
        run: a run folder.
        folder: of any format of `FORMATS`, exported here or elsewhere.
        backend: that computes the live model's answers; the run's if None.

    Raises:
        KerasftError: the run, its base, or the folder cannot be opened. A failed proof is
            returned, not raised.
    """
    from kerasft.export.verify import verify_folder

    folder = Path(folder)
    format_of(folder)
    weights, backend = _opened(Path(run), backend)
    return verify_folder(weights, folder, live=_live(weights), backend=backend)


def _opened(run: Path, backend: str | None) -> tuple[TrainedWeights, str]:
    """A run's weights, and the backend, selected."""
    from kerasft.backend import select
    from kerasft.export.trained import open_trained
    from kerasft.runs import RunFolder

    backend = backend or RunFolder.open(run).record().get("backend") or "torch"
    select(backend)
    return open_trained(run), backend


def _live(weights: TrainedWeights) -> Any:
    """Builds the live model when it is called."""
    from kerasft.export.trained import answering

    return lambda: answering(weights)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ExportError(f"Expected a format of {', '.join(FORMATS)}; got {name!r}.")
    return FORMATS[name]


def _options(form: Format, **options: Any) -> dict[str, Any]:
    """The options that were given.

    Raises:
        ExportError: the format does not know one of them.
    """
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    for name in given:
        if name not in form.options:
            raise ExportError(
                f"--{name.replace('_', '-')} is not for --to {form.name}. Leave it out."
            )
    return given
