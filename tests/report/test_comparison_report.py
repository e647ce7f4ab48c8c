"""The report of a comparison: the gate first, and no ranking where it did not pass."""

import dataclasses
import re

import pytest

from kerasft.compare.result import Check
from kerasft.report.comparison_report import comparison_document
from kerasft.report.document import plots_of
from kerasft.report.html import to_html
from kerasft.report.markdown import to_markdown
from kerasft.report.writing import write_comparison_report
from tests.report.made import MISCHIEF, made_comparison, made_contender, without_plots
from tests.report.test_html import read


def page_of(comparison) -> tuple[str, str]:
    """The page's text, and the page, nothing drawn."""
    page = to_html(without_plots(comparison_document(comparison)), str)
    return "\n".join(read(page).text), page


def test_a_ranked_comparison(tmp_path):
    page = write_comparison_report(made_comparison(), tmp_path).read_text("utf-8")
    shown = "\n".join(read(page).text)
    assert (
        "A training step takes 21.21 ms with keras-jax, 25.25 ms with keras-torch (1.19 times as "
        "long), 61.61 ms with hf (2.90 times as long)." in shown
    )
    for part in (
        "The parity gate passed",
        "side by side, each number a mean over its seeds: keras-torch",
        "plots have the intervals of each",
        "trl: its device is another one",
        "trl (not ranked)",
        "25.25 ± 0.25 ms",
        "Ratios of the means to keras-torch's",
        "whole run, with loading and saving",
        "cost of training, at 2.5 an hour",
        "40.9% ± 1.0% (3 seeds)",
        "0.0% (0.0% to 0.4%)",
        "keras-torch and hf",
        "0.590",
        "61 questions that some have right and others wrong, with seed 0; 1 of them stand here.",
        "wrong: runs, but gives other rows: 1 row instead of 2",
        "torch: max_memory_allocated, JAX: peak_bytes_in_use",
        MISCHIEF,
        "kerasft compare --recipe spider.toml",
    ):
        assert part in shown, part
    assert "/home/someone" not in page
    strong = re.findall(r"<td[^>]*><strong>([^<]+)", page)
    assert "21.21 ± 0.21 ms" in strong and "4.70 GiB" in strong
    assert not [each for each in strong if "90.90" in each]
    plots = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert plots >= {
        "losses",
        "loss-differences",
        "step-time",
        "peak-memory",
        "first-step",
        "training-time",
        "score-1",
    }
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert {f"{name}.png" for name in plots} == set(re.findall(r"\(plots/([^)]+)\)", markdown))


def test_who_is_quick_a_step_and_late_in_all_is_told_so():
    """250 steps: 20 s at 21 ms a step, against 6.25 s at 25 ms: 14.75 s to make up for."""
    late = made_contender("keras-jax", 0.021, 5.1, seeds=1)
    late = dataclasses.replace(late, runs=[dataclasses.replace(late.runs[0], training_seconds=20)])
    contenders = [
        made_contender("keras-torch", 0.025, 4.7, 1), late, made_contender("hf", 0.061, 19.4, 1)
    ]  # fmt: skip
    comparison = made_comparison(seeds=1, contenders=contenders)
    shown, _ = page_of(comparison)
    assert (
        "All 250 steps took 6.25 s with keras-torch, 15.2 s with hf, 20 s with keras-jax, the "
        "first one included. At these rates keras-jax would be ahead of all in runs of 3,688 "
        "steps and more." in shown
    )
    markdown = to_markdown(comparison_document(comparison), str)
    row = "| in all, against keras-torch | – | ahead from step 3,688 | always behind |"
    assert row in markdown
    assert "in runs of" not in page_of(made_comparison())[0]


def test_the_first_seed_which_compiles_stands_by_itself():
    """30 s with all to compile, then 5 and 7: their mean, 14 s, is the time of no run."""
    contenders = []
    for name, seconds in (("keras-torch", (30, 5, 7)), ("hf", (15, 15, 15))):
        made = made_contender(name, 0.025 if name == "keras-torch" else 0.06, 4.7)
        runs = [
            dataclasses.replace(run, training_seconds=each, step_seconds=made.runs[0].step_seconds)
            for run, each in zip(made.runs, seconds, strict=True)
        ]
        contenders.append(dataclasses.replace(made, runs=runs))
    document = comparison_document(made_comparison(contenders=contenders))
    markdown = to_markdown(document, str)
    for row in (
        "| training time, loading left out, the first seed | 30.00 s | **15.00 s** |",
        "| training time, loading left out, later seeds | **6.000 ± 1.414 s** | 15.00 s |",
        "| in all, against keras-torch, the first seed | – | ahead up to step 678 |",
        "| in all, against keras-torch, later seeds | – | always behind |",
        "| cost of training, at 2.5 an hour, later seeds | **0.0042 ± 0.0010** | 0.0104 |",
        "| training time, loading left out, the first seed | 1.00 | 0.50 |",
        "| training time, loading left out, later seeds | 1.00 | 2.50 |",
    ):
        assert row in markdown, row
    assert "All 250 steps of the first seed took 15 s with hf, 30 s with keras-torch" in markdown
    assert "All 250 steps of later seeds took 6 s with keras-torch, 15 s with hf" in markdown
    assert "14.00 s" not in markdown and "keras-torch 14 \\(30, 5, 7\\)" in markdown


def test_pooled_tests_and_seeds_are_told_where_there_are_several():
    assert "Pooled tests" in page_of(made_comparison())[0]
    alone = [dataclasses.replace(each, seeds=1) for each in made_comparison().tests]
    other = dataclasses.replace(alone[0], metric="valid_sql", only_a=77)
    shown, page = page_of(made_comparison(seeds=1, tests=[*alone, other]))
    assert "Pooled tests" not in shown and "all 1" not in shown
    assert "Smallest p of 2 paired tests" in shown
    folded = page[page.index("Tests of the other measures") :]
    assert page.count('<td class="number">77</td>') == 1
    assert folded.index(">77<") < folded.index("</details>")


def test_answers_that_are_neither_right_nor_wrong_are_not_called_so():
    example = dataclasses.replace(made_comparison().examples[0], metric="answer")
    shown, page = page_of(made_comparison(examples=[example] * 12, differing_total=12))
    assert "12 questions that were not answered alike, with seed 0." in shown
    assert page.index("2 more questions") > page.index("Where they differ")


def failed(comparison):
    gate = [
        dataclasses.replace(each, passed=False, value=0.3)
        if (each.contender, each.what) == ("hf", "initial loss")
        else each
        for each in comparison.gate
    ]
    contenders = [
        dataclasses.replace(each, ranked=False, why_not=["the gate failed"])
        for each in comparison.contenders
    ]
    why = ["hf: initial loss 0.3 over its bound 0.0001"]
    return dataclasses.replace(
        comparison, gate=gate, contenders=contenders, ranked=False, why_not=why
    )


def test_a_failed_gate_ranks_nothing():
    comparison = failed(made_comparison())
    shown, page = page_of(comparison)
    assert "The parity gate failed for hf: nothing here is ranked." in shown
    assert "hf: initial loss 0.3 over its bound" in shown
    assert "failed, 0.3, bound 0.0001" in shown
    markdown = to_markdown(comparison_document(comparison), str)
    assert "[!CAUTION]" in markdown
    for text in (shown, markdown):
        for word in ("faster", "fastest", "slower", "best", "times as long", "Ratios", "winner"):
            assert not re.search(rf"\b{word}\b", text), word
    assert [each for each in re.findall(r"<strong>([^<]+)", page) if "failed" not in each] == []
    # The banner stands before any number.
    assert page.index("The parity gate failed") < page.index("time of a step")


def test_without_a_gate_nothing_is_ranked():
    comparison = made_comparison(gate=[], ranked=False, why_not=["the gate was left out"])
    unranked = [dataclasses.replace(each, ranked=False) for each in comparison.contenders]
    shown, _ = page_of(dataclasses.replace(comparison, contenders=unranked))
    assert "The parity gate was not run, so nothing is ranked." in shown
    assert "times as long" not in shown and "best" not in shown


def test_layouts_are_called_layouts():
    comparison = made_comparison(kind="layouts", ranked=False)
    unranked = [dataclasses.replace(each, ranked=False) for each in comparison.contenders]
    shown, _ = page_of(dataclasses.replace(comparison, contenders=unranked))
    assert "Their LoRA layouts differ" in shown and "1,898,496" in shown


def test_one_seed_has_intervals_and_no_spread():
    shown, _ = page_of(made_comparison(seeds=1))
    assert "±" not in shown and "One run each" in shown and "a mean over" not in shown
    assert "38.1% (34.0% to 42.0%)" in shown or "39.9% (34.0% to 42.0%)" in shown


def test_a_contender_that_did_not_run_has_its_reason_and_no_numbers():
    nothing = {
        each.name: None
        for each in dataclasses.fields(made_contender("x", 1.0, 1.0).runs[0])
        if each.name
        not in ("run", "seed", "status", "why", "losses", "validation_losses", "scores")
    }
    comparison = made_comparison()
    gone = made_contender("trl", 1.0, 1.0, 1, ranked=False, why_not=["trl is not installed"])
    run = dataclasses.replace(
        gone.runs[0], **nothing, status="not run", why="trl is not installed", losses=(),
        validation_losses=(), scores=(),
    )  # fmt: skip
    gone = dataclasses.replace(gone, runs=[run], trained_parameters=None, versions={}, device="")
    comparison = dataclasses.replace(comparison, contenders=[*comparison.contenders[:3], gone])
    shown, _ = page_of(comparison)
    assert "not run: trl is not installed" in shown
    plots = plots_of(comparison_document(comparison).blocks)
    assert "trl (not ranked) not measured" in next(p.alt for p in plots if p.name == "step-time")


@pytest.mark.parametrize("changes", [{"contenders": [], "tests": [], "gate": []}])
def test_a_comparison_of_nothing_is_a_page_too(changes):
    shown, _ = page_of(made_comparison(**changes, ranked=False, base_scores=[]))
    assert "No run was evaluated." in shown and "No run came to its first step." in shown


def test_reasons_name_no_folder():
    why = "RunError: /home/someone/runs/hf was trained on other rows (see /data/logs/hf.log)"
    check = Check("hf", "token ids", None, None, False, [0], why)
    gone = made_contender("hf", 1.0, 1.0, 1, ranked=False)
    gone = dataclasses.replace(gone, runs=[dataclasses.replace(gone.runs[0], why=why)])
    shown, page = page_of(made_comparison(gate=[check], contenders=[gone], why_not=[why]))
    assert shown.count("hf was trained on other rows (see hf.log)") == 3
    assert "/home/someone" not in page and "/data/logs" not in page


def test_values_at_and_over_the_bound_are_told_apart():
    check = Check("hf", "initial loss", float("inf"), 1e-4, False, [0], "it overflows")
    shown, _ = page_of(made_comparison(gate=[check]))
    assert "failed, inf, bound 0.0001" in shown
