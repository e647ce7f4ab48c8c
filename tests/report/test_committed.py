"""The comparison that the documentation shows says what its numbers are."""

import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from kerasft.compare.result import Comparison
from kerasft.report.comparison_report import comparison_document
from kerasft.report.markdown import to_markdown
from kerasft.report.public import publisher

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "comparison"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison.read(FOLDER)


def test_the_report_is_what_its_numbers_give_today(comparison: Comparison) -> None:
    made = to_markdown(comparison_document(comparison), publisher(FOLDER.resolve()))
    assert made == (FOLDER / "report.md").read_text("utf-8")


def test_none_of_spiders_questions_is_repeated(comparison: Comparison) -> None:
    assert comparison.differing_total > 0 and not comparison.examples


def test_the_readme_has_its_numbers(comparison: Comparison) -> None:
    runs = [each.runs for each in comparison.contenders]
    scores = [
        [{score.metric: score.value for score in run.scores} for run in each] for each in runs
    ]
    expected = {
        "a step, median": [[1000 * run.step_seconds for run in each] for each in runs],
        "first step, the machine's first run": [[each[0].first_step_seconds] for each in runs],
        "first step, later runs": [[run.first_step_seconds for run in each[1:]] for each in runs],
        "all 71 steps, the machine's first run": [[each[0].training_seconds] for each in runs],
        "all 71 steps, later runs": [[run.training_seconds for run in each[1:]] for each in runs],
        "peak memory": [[run.peak_memory_bytes / 2**30 for run in each] for each in runs],
        "right result on Spider dev, 1,034 questions": [
            [100 * run["execution_accuracy"] for run in each] for each in scores
        ],
        "perplexity of the known answers": [[run["perplexity"] for run in each] for each in scores],
    }
    readme = (ROOT / "README.md").read_text("utf-8")
    for label, contenders in expected.items():
        line = next(line for line in readme.splitlines() if line.startswith(f"| {label} |"))
        cells = line.split("|")[2:-1]
        for cell, values in zip(cells, contenders, strict=True):
            shown = NUMBER.findall(cell)
            wanted = [fmean(values), stdev(values)] if "±" in cell else [fmean(values)]
            for text, value in zip(shown, wanted, strict=True):
                decimals = len(text.partition(".")[2])
                assert f"{value:.{decimals}f}" == text, (label, cell)
