"""`kerasft runs`: which runs there are, what they weigh, and how to be rid of them."""

import dataclasses
from pathlib import Path

import click

from kerasft.caches import caches
from kerasft.cli.options import json_option
from kerasft.cli.output import console, number, print_json, size, table
from kerasft.errors import KerasftError, RunError, collected
from kerasft.runs import list_runs, remove_run


@click.group()
def runs() -> None:
    """List runs and caches, or delete runs."""


@runs.command("list")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs), and the caches with their sizes."""
    found, kept = list_runs(folder), caches()
    if as_json:
        print_json(
            {
                "runs": [dataclasses.asdict(run) for run in found],
                "caches": [dataclasses.asdict(cache) for cache in kept],
            }
        )
        return
    out = console()
    if found:
        columns = ["run", "status", "recipe", "backend", "steps ", "last loss ", "size ", "started"]
        rows = [
            [
                str(run.path),
                f"{run.status}: {run.why}" if run.why else run.status,
                run.name,
                run.backend,
                number(run.steps),
                number(run.last_loss),
                size(run.bytes),
                run.started,
            ]
            for run in found
        ]
        out.print(table("", columns, rows))
    else:
        click.echo(f"No runs in {folder}.")
    out.print()
    rows = [[cache.name, size(cache.bytes), str(cache.path), cache.holds] for cache in kept]
    out.print(table("", ["cache", "size ", "folder", "holds"], rows))


@runs.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=Path)
@click.option("--force", is_flag=True, help="Delete a run that was killed, too.")
@json_option
def rm(folders: tuple[Path, ...], force: bool, as_json: bool) -> None:
    """Delete run folders with their adapters, checkpoints and results."""
    freed: dict[str, int] = {}
    faults: list[str] = []
    for folder in folders:
        try:
            freed[str(folder)] = remove_run(folder, force=force)
        except KerasftError as error:
            faults.append(str(error))
    if as_json and not faults:
        print_json([{"removed": folder, "bytes": count} for folder, count in freed.items()])
    elif not as_json:
        for folder, count in freed.items():
            click.echo(f"{folder}: deleted, {size(count)}")
    if faults:
        raise RunError(faults[0] if len(folders) == 1 else collected("not deleted", faults))
