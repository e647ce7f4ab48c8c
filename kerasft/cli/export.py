"""`kerasft export`: a run as a model that other programs load, with its proof."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasft.cli.options import backend_option, json_option
from kerasft.cli.output import console, print_json, size, table
from kerasft.errors import ExportError
from kerasft.export.formats import FORMATS

if TYPE_CHECKING:
    from kerasft.export import Exported
    from kerasft.export.push import Pushed
    from kerasft.export.push.plan import Plan
    from kerasft.export.verify import Verification

_DTYPES = list(dict.fromkeys(dtype for form in FORMATS.values() for dtype in form.dtypes))


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(FORMATS)), help="Format of the export.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for the export.")
@click.option(
    "--dtype",
    type=click.Choice(_DTYPES),
    help="Type of the weights; where not given, float32 for peft, else the one that the base "
    "had in training. q8_0 is for gguf.",
)
@click.option(
    "--share-rank",
    is_flag=False,
    flag_value=0,
    type=click.IntRange(min=0),
    metavar="[RANK]",
    help="For peft: one rank in every layer (the run's where not given), by leaving out the "
    "smallest singular values; what that loses is measured.",
)
@click.option(
    "--with-base", is_flag=True, help="For peft: the untouched base beside the adapter, too."
)
@click.option(
    "--verify",
    "verified",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write no model; prove that the folder DIR, of any of the formats, is this run's.",
)
@click.option(
    "--push",
    "destination",
    metavar="hf://…|kaggle://…",
    help="Upload what was verified to hf://user/name or kaggle://user/model/framework/variation; "
    "private where it is new.",
)
@click.option("--public", is_flag=True, help="With --push: all may see it.")
@click.option("--yes", is_flag=True, help="With --push: replace files that are there and differ.")
@click.option(
    "--dry-run", is_flag=True, help="With --push: list what would be sent, and send nothing."
)
@backend_option
@json_option
def export(
    run: Path,
    to: str | None,
    out: Path | None,
    dtype: str | None,
    share_rank: int | None,
    with_base: bool,
    verified: Path | None,
    destination: str | None,
    public: bool,
    yes: bool,
    dry_run: bool,
    backend: str | None,
    as_json: bool,
) -> None:
    """Write a run as a model that others load, and prove that it is the trained one.

    Every tensor is held against base + delta, and the folder, loaded in a fresh process as
    its users load it, against the live model's answers. If the proof fails, nothing is
    left behind.

    \b
    kerasft export runs/sql-… --to hf --out my-model
    kerasft export runs/sql-… --to gguf --dtype q8_0 --out my-gguf
    kerasft export runs/sql-… --verify my-model --push hf://me/my-model
    """
    writes = (to, out, dtype, share_rank, with_base or None)
    if verified is not None and any(option is not None for option in writes):
        raise click.UsageError(
            "--verify DIR writes no model; --to, --out, --dtype, --share-rank and --with-base do."
        )
    if verified is None and (to is None or out is None):
        raise click.UsageError("Give --to FORMAT and --out DIR, or --verify DIR.")
    if destination is None and (public or yes or dry_run):
        raise click.UsageError("--public, --yes and --dry-run go with --push.")
    _check_fits(to, dtype, share_rank, with_base)

    from kerasft.export import export_run, verify_run

    if destination is not None:  # told before an hour of work, not after it
        from kerasft.export.push import check_destination

        check_destination(destination, login=not dry_run)
    if verified is not None:
        verification = verify_run(run, verified, backend=backend)
        if not as_json:
            _show(verification)
        verification.require()
        folder, result = verified, {"verification": asdict(verification)}
    else:
        exported = export_run(
            run,
            to,
            out,
            dtype=dtype,
            backend=backend,
            share_rank=share_rank,
            with_base=with_base,
        )
        if not as_json:
            _show(exported.verification)
            _tell(exported)
        folder = exported.folder
        result = {
            "written": asdict(exported.written),
            "verification": asdict(exported.verification),
        }
    pushed = None
    if destination is not None:
        try:
            pushed = _push(folder, destination, public, yes, dry_run, as_json)
        except ExportError as error:
            if verified is not None:
                raise
            raise ExportError(
                f"{error}\nThe export is in {folder}; to push it: "
                f"kerasft export {run} --verify {folder} --push {destination}"
            ) from None
    if as_json:
        push = {"push": _as_json(pushed, dry_run)} if pushed is not None else {}
        print_json({"folder": folder, **result, **push})


def _check_fits(to: str | None, dtype: str | None, share_rank: int | None, with_base: bool) -> None:
    """Wrong usage for what a format does not hold."""
    if to is None:
        return
    form = FORMATS[to]
    if dtype is not None:
        try:
            form.check_dtype(dtype)
        except ExportError as error:
            raise click.UsageError(str(error)) from None
    given = {"share_rank": share_rank is not None, "with_base": with_base}
    for option, there in given.items():
        if there and option not in form.options:
            raise click.UsageError(f"--{option.replace('_', '-')} is not for --to {to}.")


def _show(verification: "Verification") -> None:
    """What the proof measured; what was not measured, and why."""
    from kerasft.export.proof_table import proof_rows

    title = (
        f"Verification {verification.status.replace('_', ' ')} "
        f"({verification.bound_dtype}: {verification.bound.reason})"
    )
    rows = [list(row) for row in proof_rows(asdict(verification))]
    console().print(table(title, ["", "measured", "expected"], rows))
    if verification.note:
        click.echo(verification.note, err=True)


def _tell(exported: "Exported") -> None:
    """What was written, in a line, and what its writer says of it."""
    written, proof = exported.written, exported.verification
    if proof.format == "peft" and proof.tensors:
        parts = f"an adapter of {written.tensors} tensors for {proof.tensors.adapted} layers"
    else:
        parts = f"{written.merged} of {written.tensors} tensors with a delta"
    click.echo(
        f"{exported.folder}: {written.parameters:,} parameters in {written.dtype}, {parts}, "
        f"{size(sum(written.files.values()))}"
    )
    for note in written.notes:
        click.echo(note)


def _push(
    folder: Path, destination: str, public: bool, yes: bool, dry_run: bool, as_json: bool
) -> "Pushed":
    """Pushes, or lists what a push would do; asks where a person can answer."""
    import sys

    from kerasft.export.push import push_folder

    asks: Callable[[Plan], bool] | None = None
    if not as_json and sys.stdin.isatty():

        def asks(plan: "Plan") -> bool:
            _list(plan)
            return click.confirm(
                f"A push to {plan.destination} {' and '.join(plan.asks)}. Push?", err=True
            )

    pushed = push_folder(
        folder,
        destination,
        private=not public,
        overwrite=yes,
        dry_run=dry_run,
        consent=asks,
    )
    if as_json:
        return pushed
    if dry_run:
        _list(pushed.plan)
        for reason in pushed.plan.asks:
            click.echo(f"It {reason}: that needs --yes, or your consent.")
    seen = "private" if pushed.private else "public"
    if dry_run:
        click.echo(f"{pushed.destination} ({seen}): nothing was sent")
    elif pushed.sent:
        click.echo(f"{pushed.page} ({seen}): {size(pushed.plan.to_send)} sent")
    else:
        click.echo(f"{pushed.page} ({seen}): all of it is there already")
    for note in pushed.notes:
        click.echo(note, err=True)
    return pushed


def _list(plan: "Plan") -> None:
    """Every file with its size and state."""
    rows = [[file.state, size(file.bytes), file.name] for file in plan.files]
    rows += [["stays", "", name] for name in plan.left]
    console().print(table(f"Push to {plan.destination}", ["", "size ", "file"], rows))


def _as_json(pushed: "Pushed", dry_run: bool) -> dict[str, Any]:
    plan = pushed.plan
    return {
        "destination": pushed.destination,
        "page": pushed.page or None,
        "private": pushed.private,
        "dry_run": dry_run,
        "sent": pushed.sent,
        "bytes": plan.to_send,
        "files": [asdict(file) for file in plan.files],
        "left": list(plan.left),
        "asks": plan.asks,
        "notes": list(pushed.notes),
    }
