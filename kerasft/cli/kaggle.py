"""`kerasft kaggle`: a notebook that runs a recipe, and sending it to Kaggle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasft.backend import Backend
from kerasft.cli.options import backend_option, json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, printable
from kerasft.errors import KernelError
from kerasft.export.formats import FORMATS

if TYPE_CHECKING:
    from kerasft.kaggle.push import Ended, Pushed

_ACCELERATORS = ("t4x2", "p100", "tpu", "none")
_LOG_LINES = 40
_FILES = 40


@click.group()
def kaggle() -> None:
    """Write a notebook that runs a recipe on Kaggle or Colab, and push it to Kaggle."""


@kaggle.command()
@recipe_option(required=True, help="A shipped recipe, or a file ending in .toml.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder (the title's slug, here).")
@click.option(
    "--accelerator",
    type=click.Choice(_ACCELERATORS),
    default="t4x2",
    show_default=True,
    help="The machine; what differs on it is written into the notebook.",
)
@backend_option
@set_option
@click.option(
    "--export",
    "export",
    type=click.Choice([*FORMATS, "none"]),
    default="hf",
    show_default=True,
    help="Format that the finished run is exported to.",
)
@click.option(
    "--push",
    "destination",
    default="",
    metavar="hf://…|kaggle://…",
    help="Where the export goes, as for `kerasft export`; needs the secret HF_TOKEN, or for "
    "Kaggle KAGGLE_API_TOKEN.",
)
@click.option("--yes", is_flag=True, help="With --push: replace files that are there and differ.")
@click.option("--title", default="", help="Of the notebook (kerasft RECIPE).")
@click.option("--username", default="", help="Yours on Kaggle (the one that is logged in).")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="OWNER/NAME",
    help="Kaggle data set to attach; may be repeated.",
)
@click.option(
    "--wheels",
    default="",
    metavar="OWNER/NAME",
    help="Kaggle data set with wheels of kerasft or of what it needs, where pip looks, too.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="With --wheels: no internet; the data set holds all that pip installs.",
)
@click.option("--colab", is_flag=True, help="For Colab, with Google Drive, instead of Kaggle.")
@json_option
def init(
    recipe: str,
    out: Path | None,
    accelerator: str,
    backend: Backend | None,
    overrides: tuple[str, ...],
    export: str,
    destination: str,
    yes: bool,
    title: str,
    username: str,
    datasets: tuple[str, ...],
    wheels: str,
    offline: bool,
    colab: bool,
    as_json: bool,
) -> None:
    """Write a notebook that trains a recipe, scores, reports, exports and pushes.

    It stops before the session's limit and goes on from its own last output.

    \b
    kerasft kaggle init --recipe sql --username me
    kerasft kaggle init --recipe sql-gemma-2b --accelerator t4x2 --push hf://me/sql-gemma
    kerasft kaggle init --recipe sql --colab
    """
    if yes and not destination:
        raise click.UsageError("--yes goes with --push.")
    if offline and (not wheels or destination):
        raise click.UsageError("--offline goes with --wheels, and without --push.")
    if colab and (username or datasets or wheels):
        raise click.UsageError("--username, --dataset and --wheels are for Kaggle, not --colab.")
    from kerasft.kaggle.kernel import init_kernel

    made = init_kernel(
        recipe,
        out,
        accelerator=accelerator,
        backend=backend,
        overrides=overrides,
        export=export,
        push=destination,
        overwrite=yes,
        title=title,
        username=username,
        datasets=datasets,
        wheels=wheels,
        offline=offline,
        colab=colab,
    )
    if as_json:
        print_json(
            {
                "folder": made.folder,
                "notebook": made.notebook,
                "id": made.id or None,
                "accelerator": made.accelerator,
                "backend": made.backend,
                "notes": list(made.notes),
            }
        )
        return
    click.echo(f"{made.notebook}: {made.accelerator}, {made.backend}")
    for note in made.notes:
        console(stderr=True).print(printable(note), soft_wrap=True)
    if colab:
        click.echo("Open it in Colab: File › Upload notebook.")
    else:
        click.echo(f"kerasft kaggle push {made.folder} --follow")


@kaggle.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Wait for its end; print log and output.")
@click.option(
    "--no-send", is_flag=True, help="With --follow: send nothing, follow the version that is there."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="With --follow: fetch the output's files into this folder.",
)
@json_option
def push(folder: Path, follow: bool, no_send: bool, out: Path | None, as_json: bool) -> None:
    """Send a kernel's folder to Kaggle, which runs it as a new version.

    From the second version on its own last output is among its inputs, so that a run that was
    stopped by the session's limit goes on.

    \b
    kerasft kaggle push kerasft-sql --follow
    kerasft kaggle push kerasft-sql --follow --no-send --out output
    """
    if not follow and (no_send or out):
        raise click.UsageError("--no-send and --out go with --follow.")
    from kerasft.kaggle import push as pushing
    from kerasft.kaggle.metadata import read

    pushed = None if no_send else pushing.push_kernel(folder)
    identity = pushed.id if pushed else read(folder)["id"]
    if pushed and not as_json:
        _tell(pushed)
    ended, fetched, run = None, [], None
    if follow:
        notes = console(stderr=True)
        try:
            ended = pushing.follow(
                identity, lambda status: notes.print(printable(status.lower().replace("_", " ")))
            )
        except KeyboardInterrupt:
            notes.print(
                f"{identity} runs on. Follow it again: kerasft kaggle push {folder} --follow "
                "--no-send",
                soft_wrap=True,
            )
            raise
        if out is not None:
            fetched = pushing.fetch(ended, out)
        run = pushing.progress(ended)
        if not as_json:
            _show(ended, len(fetched), out)
            if run is not None and run["status"] != "finished":
                click.echo(
                    f"The run has done {number(run['steps'])} of {number(run['planned_steps'])} "
                    f"steps. It goes on with: kerasft kaggle push {folder} --follow"
                )
    if as_json and (ended is None or ended.complete):
        print_json(_as_json(identity, pushed, ended, fetched, run))
    if ended is not None and not ended.complete:
        reason = f": {ended.failure}" if ended.failure else ""
        shown = ended.log[-_LOG_LINES:] if as_json else ()
        status = ended.status.lower().replace("_", " ")
        raise KernelError("\n".join([f"{identity} ended as {status}{reason}.", *shown]))


def _tell(pushed: "Pushed") -> None:
    version = f", version {pushed.version}" if pushed.version else ""
    click.echo(f"{pushed.page}{version}")
    if pushed.goes_on:
        click.echo("The last version's output is among its inputs: an unfinished run goes on.")
    for note in pushed.notes:
        console(stderr=True).print(printable(note), soft_wrap=True)


def _show(ended: "Ended", fetched: int, out: Path | None) -> None:
    """The end of the log, and the names of the output's files."""
    page = console()
    for line in ended.log[-_LOG_LINES:]:
        page.print(printable(line), soft_wrap=True)
    page.print()
    for name, _ in ended.files[:_FILES]:
        page.print(printable(name), soft_wrap=True)
    if len(ended.files) > _FILES:
        click.echo(f"… and {len(ended.files) - _FILES} more")
    if out is not None:
        click.echo(f"{fetched} files in {out}")


def _as_json(
    identity: str,
    pushed: "Pushed | None",
    ended: "Ended | None",
    fetched: list[Path],
    run: dict[str, Any] | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"id": identity}
    if pushed is not None:
        found |= {
            "page": pushed.page,
            "version": pushed.version,
            "goes_on": pushed.goes_on,
            "notes": list(pushed.notes),
        }
    if ended is not None:
        found |= {
            "status": ended.status,
            "log": list(ended.log),
            "files": [name for name, _ in ended.files],
            "fetched": fetched,
            "run": run,
        }
    return found
