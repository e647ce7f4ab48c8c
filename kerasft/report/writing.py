"""The files of a report: report.html, report.md, report.json, and the plots of the Markdown."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.console import Reporter
from kerasft.errors import RunError
from kerasft.records import cannot_write, write_json, write_text
from kerasft.report.document import Document, plots_of
from kerasft.report.html import to_html
from kerasft.report.markdown import PLOTS, to_markdown
from kerasft.report.public import public_record, public_sentence, publisher
from kerasft.report.run_contents import RunContents, read_run
from kerasft.report.run_report import recipe_differences, reproduce, run_document
from kerasft.report.svg import write_png
from kerasft.runs import RunFolder

if TYPE_CHECKING:
    from kerasft.compare.result import Comparison

PAGE = "report.html"


def report_run(path: str | Path) -> Path:
    """Write the report of the run in a folder; see `write_run_report`.

    Raises:
        RunError: it is no run folder, its record cannot be read, or a file cannot be written.
    """
    return write_run_report(RunFolder.open(path))


def write_run_report(run: RunFolder) -> Path:
    """Write the report of a run into its folder, over an older one.

    Returns:
        report.html. Beside it lie report.md, with its plots as `plots/NAME.png`, and
        report.json, which holds what they say.

    Raises:
        RunError: the record cannot be read, or a file cannot be written.
    """
    contents = read_run(run)
    document = run_document(contents)
    return _write(run.path, document, _run_facts(contents, document))


def write_comparison_report(comparison: "Comparison", out: Path) -> Path:
    """Write the report of a comparison into a folder, over an older one.

    Returns:
        report.html. Beside it lie report.md and its plots as `plots/NAME.png`; the numbers
        stand in compare.json.

    Raises:
        RunError: a file cannot be written.
    """
    from kerasft.report.comparison_report import comparison_document

    return _write(out, comparison_document(comparison), None)


def refreshed(run: RunFolder, reporter: Reporter) -> Path | None:
    """Write a run's report at the end of a command that did something else.

    That is done by now, so nothing that goes wrong here is its failure: a note tells it.
    """
    try:
        return write_run_report(run)
    except Exception as error:
        reporter.note(
            f"the report could not be written ({type(error).__name__}: {error}); "
            f"`kerasft report {run.path}` tries again"
        )
        return None


def _write(folder: Path, document: Document, facts: Mapping[str, Any] | None) -> Path:
    publish = publisher(folder.resolve())
    page = folder / PAGE
    write_text(page, to_html(document, publish))
    try:
        for plot in plots_of(document.blocks):
            write_png(plot, folder / PLOTS / f"{plot.name}.png")
    except OSError as error:
        raise RunError(cannot_write(folder / PLOTS, error)) from error
    write_text(folder / "report.md", to_markdown(document, publish))
    if facts is not None:
        write_json(folder / "report.json", _published(facts, publish))
    return page


def _run_facts(run: RunContents, document: Document) -> dict[str, Any]:
    """What the page says, for programs; the curve stands in metrics.jsonl."""
    return {
        "run": run.name,
        "title": document.title,
        "verdict": document.verdict,
        "status": run.status,
        "record": public_record(run.record),
        "faults": [public_sentence(fault) for fault in run.faults],
        "evaluations": {
            each.name: {
                "data": each.result.get("data"),
                "rows": each.result.get("rows"),
                **{side: each.result[side] for side in ("tuned", "base") if side in each.result},
                "comparison": {
                    name: {key: value for key, value in found.items() if key != "rows"}
                    for name, found in (each.result.get("comparison") or {}).items()
                },
                "examples": [asdict(example) for example in each.examples],
            }
            for each in run.evaluations
        },
        "recipe": run.recipe.model_dump() if run.recipe else None,
        "not_default": {path: value for path, value, _ in recipe_differences(run)},
        "licence": run.licence.name if run.licence else None,
        "reproduce": reproduce(run),
    }


def _published(value: Any, publish: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _published(each, publish) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_published(each, publish) for each in value]
    return publish(value) if isinstance(value, str) else value
