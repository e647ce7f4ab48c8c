"""A run's report: what it says, also of runs that came to nothing."""

import json
import shutil

import pytest

from kerasft.errors import RunError
from kerasft.report.answers import chosen
from kerasft.report.html import to_html
from kerasft.report.run_contents import read_run
from kerasft.report.run_report import run_document, verdict
from kerasft.report.writing import refreshed, write_run_report
from kerasft.runs import RunFolder
from tests.report.made import MISCHIEF, made_recipe, made_run, without_plots
from tests.report.test_html import read


def text_of(run: RunFolder) -> str:
    """The text of a run's page, nothing drawn."""
    document = without_plots(run_document(read_run(run)))
    return "\n".join(read(to_html(document, str)).text)


def test_the_whole_story(tmp_path):
    run = made_run(tmp_path / "spider-1")
    shown = "\n".join(read(write_run_report(run).read_text("utf-8")).text)
    said = verdict(read_run(run))
    assert said.startswith(
        "Training gemma3-270m (google/gemma-3-270m) took the loss from 3.000 to 0.387 in 60 steps "
        "and 6 s on NVIDIA H100 80GB HBM3."
    )
    assert "On held-out rows the loss went from 3.100 to 0.500." in said
    assert "execution accuracy is 50.0% (20.0% to 80.0%), the untouched base's 0.0%" in said
    for part in (
        said,
        "spider: spider-1",
        "+50.0 points (+10.0 to +90.0)",
        "4 fixed, 0 broken",
        "0.125",
        "runs, but gives other rows",
        "before training",
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        "sha256:1234",
        "12 median, 30 at 95 %, 40 longest",
        "pip install kerasft==0.1.0",
        "kerasft train --recipe recipe.toml --backend torch",
        MISCHIEF,
    ):
        assert part in shown, part
    assert {path.name for path in run.plots.iterdir()} == {
        "loss.png",
        "learning-rate.png",
        "throughput.png",
        "lengths.png",
        "scores-validation.png",
    }
    markdown = (run.path / "report.md").read_text("utf-8")
    assert "![Loss by optimizer step" in markdown and "(plots/loss.png)" in markdown
    facts = json.loads((run.path / "report.json").read_text("utf-8"))
    assert facts["verdict"] == said and facts["schema_version"] == 1
    assert facts["evaluations"]["validation"]["tuned"]["execution_accuracy"]["count"] == 4
    assert facts["not_default"] == {
        "task": "text_to_sql",
        "model.preset": "gemma3-270m",
        "data.source": "rows.jsonl",
        "prompt.template": "gemma",
    }


def test_the_same_run_gives_the_same_bytes(tmp_path):
    page = to_html(run_document(read_run(made_run(tmp_path / "run"))), str)
    assert to_html(run_document(read_run(RunFolder.open(tmp_path / "run"))), str) == page


def test_a_long_run_is_no_large_page(tmp_path):
    run = made_run(tmp_path / "run", steps=20_000)
    assert len(to_html(run_document(read_run(run)), str)) < 1_000_000


def test_neither_folders_nor_secrets_leave_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_aVerySecretTokenOfSomebody")
    run = made_run(
        tmp_path / "run",
        question="what is hf_aVerySecretTokenOfSomebody?",
        why=f"{tmp_path}/rows.jsonl cannot be read, nor /data/elsewhere/rows.parquet",
    )
    write_run_report(run)
    for name in ("report.html", "report.md", "report.json"):
        text = (run.path / name).read_text("utf-8")
        for secret in ("SecretToken", str(tmp_path), "/home/someone", "/data/elsewhere"):
            assert secret not in text, name
        assert "rows.parquet" in text.replace("\\", "")


def test_no_evaluation_yet(tmp_path):
    shown = text_of(made_run(tmp_path / "run", scored=False))
    assert "No evaluation yet" in shown and "execution accuracy" not in shown


def test_a_run_that_was_killed_says_how_to_go_on(tmp_path):
    run = RunFolder.create(tmp_path / "run", made_recipe(), "spider")
    run.append_metrics([{"step": 1, "loss": 2.5, "learning_rate": 1e-3, "tokens_per_second": 9.0}])
    shown = text_of(run)
    assert "This run was killed" in shown and "--resume RUN" in shown
    assert "took the loss from 2.500 to 2.500 in 1 step, and was killed." in shown


def test_a_run_without_a_step(tmp_path):
    run = RunFolder.create(tmp_path / "run", made_recipe(), "spider")
    run.end("stopped", "asked to stop between two stages; go on with --resume")
    shown = text_of(run)
    assert "Training gemma3-270m (google/gemma-3-270m) was stopped before the first step." in shown
    assert "No step was done" in shown and "asked to stop between two stages" in shown
    assert "its rows were recorded" in shown


def test_a_run_that_failed(tmp_path):
    shown = text_of(made_run(tmp_path / "run", status="failed", why="the loss is not finite"))
    assert "This run failed." in shown and "the loss is not finite" in shown


def test_spikes_and_updates_left_out_are_told(tmp_path):
    spikes = [{"step": 7, "loss": 9.0}, {"step": 1200, "loss": 9.0}]
    shown = text_of(made_run(tmp_path / "run", spikes=spikes, skipped=[{"step": 8}]))
    assert "2 steps whose loss stands out from those before: 7, 1,200." in shown
    assert "1 step whose update was not finite and was left out: 8." in shown


def test_what_is_damaged_is_told_and_the_rest_is_shown(tmp_path):
    run = made_run(tmp_path / "run")
    (run.eval / "broken.json").write_text("{")
    (run.eval / "validation.predictions.jsonl").write_text('{"question": 1}\n[]\n')
    run.recipe_file.write_text("task = 1")
    run.metrics_file.write_text('nonsense\n{"step": 2}\n')
    shutil.rmtree(run.adapter)
    shown = text_of(run)
    assert "Not everything of this run could be read." in shown
    for part in ("broken.json is damaged", "line 1 is damaged", "task: should be"):
        assert part in shown, part
    assert "answers cannot be read" in shown and "50.0%" in shown
    assert "The recipe cannot be read." in shown and "Terms of Use" not in shown


def test_losses_that_are_no_numbers_are_left_out(tmp_path):
    run = made_run(tmp_path / "run", steps=3)
    run.append_metrics([{"step": 4, "loss": float("nan"), "learning_rate": 0.0}])
    assert "3.000 → 1.732" in text_of(run)


def test_a_twin_is_trained_again_by_its_engine(tmp_path):
    run = made_run(tmp_path / "run", engine="hf")
    assert "kerasft train --recipe recipe.toml --engine hf --out RUN" in text_of(run)


def test_instructions_have_no_right_and_wrong(tmp_path):
    run = made_run(tmp_path / "run", scored=False)
    run.eval.mkdir()
    line = {
        "instruction": "Say hello",
        "context": "",
        "response": "hello",
        "tuned": {"answer": "hello there", "rouge_l": 0.66},
    }
    mean = {"mean": 0.66, "low": 0.5, "high": 0.8, "of": 1}
    results = {"schema_version": 1, "task": "instruct", "rows": 1, "tuned": {"rouge_l": mean}}
    (run.eval / "held.json").write_text(json.dumps(results))
    (run.eval / "held.predictions.jsonl").write_text(json.dumps(line) + "\n")
    shown = text_of(run)
    assert "ROUGE-L 0.66" in shown and "ROUGE-L is 0.660 (0.500 to 0.800)" in shown
    assert "wrong" not in shown


def test_wrong_answers_of_every_kind_come_first(tmp_path):
    kinds = ["wrong_rows"] * 6 + ["syntax_error"] * 3 + ["timeout"] + ["match"] * 4
    lines = [
        {
            "question": f"q{place}",
            "sql": "SELECT 1",
            "tuned": {"answer": "x", "status": kind, "execution_match": kind == "match"},
            "base": {"answer": "y", "status": "no_sql", "execution_match": place == 10},
        }
        for place, kind in enumerate(kinds)
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = chosen("text_to_sql", path)
    assert [each.sides["tuned"].right for each in found] == [False] * 5 + [True] * 3
    assert {each.sides["tuned"].why for each in found[:3]} == {
        "runs, but gives other rows",
        "no valid SQL",
        "took too long",
    }
    # Of the right ones, those that the base has wrong.
    assert [each.asked for each in found[5:]] == ["q11", "q12", "q13"]
    path.write_text("")
    assert chosen("text_to_sql", path) == []


def test_a_page_that_cannot_be_written_fails_nothing(tmp_path):
    run = made_run(tmp_path / "run")
    (run.path / "report.html").mkdir()
    notes: list[str] = []

    class Notes:
        def note(self, text: str) -> None:
            notes.append(text)

    assert refreshed(run, Notes()) is None
    assert "the report could not be written" in notes[0] and "kerasft report" in notes[0]
    with pytest.raises(RunError, match=r"report\.html cannot be written"):
        write_run_report(run)


def test_a_document_is_made_without_drawing(tmp_path, monkeypatch):
    """What imports matplotlib is the writing alone."""
    run = made_run(tmp_path / "run")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert run_document(read_run(run)).title == "spider: run"
