"""`kerasft export`: a run as a model that other programs load, with its proof."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerasft.cli.options import backend_option, json_option
from kerasft.cli.output import console, number, print_json, size, table
from kerasft.export import FORMATS, export_run, verify_run

if TYPE_CHECKING:
    from kerasft.export.verify import Verification


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(FORMATS)), help="Format of the export.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for the export.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float32", "float16"]),
    help="Type of the weights; the one that the base had in training where not given.",
)
@click.option(
    "--verify",
    "verified",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write nothing; prove that the folder DIR is this run's model.",
)
@backend_option
@json_option
def export(
    run: Path,
    to: str | None,
    out: Path | None,
    dtype: str | None,
    verified: Path | None,
    backend: str | None,
    as_json: bool,
) -> None:
    """Merge a run's adapter, write the model, and prove that it is the trained one.

    The folder is loaded in a fresh process and compared with the live model. If the
    proof fails, nothing is left behind.

    \b
    kerasft export runs/sql-… --to hf --out my-model
    kerasft export runs/sql-… --verify my-model
    """
    if verified is not None:
        if to or out or dtype:
            raise click.UsageError("--verify DIR stands alone; --to, --out and --dtype write.")
        verification = verify_run(run, verified, backend=backend)
        if not as_json:
            _show(verification)
        verification.require()
        if as_json:
            print_json({"folder": verified, "verification": asdict(verification)})
        return
    if to is None or out is None:
        raise click.UsageError("Give --to FORMAT and --out DIR, or --verify DIR.")
    exported = export_run(run, to, out, dtype=dtype, backend=backend)
    if as_json:
        print_json(
            {
                "folder": exported.folder,
                "written": asdict(exported.written),
                "verification": asdict(exported.verification),
            }
        )
        return
    _show(exported.verification)
    written = exported.written
    click.echo(
        f"{exported.folder}: {written.parameters:,} parameters in {written.dtype}, "
        f"{written.merged} of {written.tensors} tensors merged, "
        f"{size(sum(written.files.values()))}"
    )


def _show(verification: "Verification") -> None:
    """What the proof measured, and every fault; a note where there was no proof."""
    if verification.comparison is None:
        click.echo(verification.note or f"Verification {verification.status}.", err=True)
        return
    c, bound = verification.comparison, verification.bound
    largest, mean = bound.largest_allowed(c.logit_range), bound.mean * c.logit_range
    rows = [
        ["largest logit difference", number(c.largest_difference), f"≤ {number(largest)}"],
        ["mean logit difference", number(c.mean_difference), f"≤ {number(mean)}"],
        ["same most likely token", f"{c.top1_agreement:.1%}", f"≥ {bound.top1:.0%}"],
        ["mean distance from the base", number(c.mean_distance_from_base), "> the difference"],
        ["training that is in it", "–" if c.recovered is None else f"{c.recovered:.2%}", "100%"],
        [
            "equal greedy continuations",
            f"{verification.greedy['equal']} of {verification.greedy['prompts']}",
            "",
        ],
        [
            "texts with equal token ids",
            f"{verification.tokenizer['equal']} of {verification.tokenizer['texts']}",
            "all",
        ],
    ]
    title = f"Verification {verification.status} ({verification.bound_dtype}: {bound.reason})"
    console().print(table(title, ["", "measured ", "expected"], rows))
