"""`kerasft report`: a run or a comparison as a page."""

from pathlib import Path

import click

from kerasft.cli.options import json_option
from kerasft.cli.output import print_json
from kerasft.errors import RunError


@click.command()
@click.argument("folder", metavar="RUN_OR_COMPARISON", type=click.Path(path_type=Path))
@json_option
def report(folder: Path, as_json: bool) -> None:
    """Write RUN_OR_COMPARISON/report.html, report.md and the plots.

    \b
    kerasft report runs/sql-20260131-120000
    kerasft report comparison

    The page is one file that needs no network: it can be sent to others as it is. `train`,
    `eval` and `compare` write it too; this writes it again.
    """
    from kerasft.compare.result import FILE, Comparison
    from kerasft.report.writing import report_run, write_comparison_report
    from kerasft.runs import is_run

    if is_run(folder):
        page = report_run(folder)
    elif (folder / FILE).is_file():
        page = write_comparison_report(Comparison.read(folder), folder)
    else:
        what = "neither a run folder nor a comparison" if folder.is_dir() else "no folder"
        raise RunError(
            f"{folder}: {what}; give a run folder (`kerasft runs list` shows them) or the --out "
            "folder of `kerasft compare`"
        )
    if as_json:
        print_json({"report": str(page)})
    else:
        click.echo(page)
