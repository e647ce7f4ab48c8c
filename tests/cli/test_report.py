"""`kerasft report`: which folders it takes, and what it prints."""

import json

import pytest

from kerasft.cli import main
from kerasft.report import html, writing
from tests.report.made import made_comparison, made_run


def test_a_run_and_a_comparison_become_pages(tmp_path, capsys, monkeypatch):
    run = made_run(tmp_path / "run")
    assert main.run(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.path / "report.html")
    made_comparison(seeds=1).write(tmp_path)
    monkeypatch.setattr(writing, "write_png", lambda *_: None)  # tests/report/ has it drawn
    monkeypatch.setattr(html, "inline", lambda *_: "")
    assert main.run(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "report.html")}
    assert "Keras and Hugging Face" in (tmp_path / "report.html").read_text("utf-8")


def test_other_folders_are_told_what_is_wanted(tmp_path, capsys):
    assert main.run(["report", str(tmp_path / "nowhere")]) == 1
    assert "no folder; give a run folder" in capsys.readouterr().err
    assert main.run(["report", str(tmp_path)]) == 1
    assert "neither a run folder nor a comparison" in capsys.readouterr().err


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """`train` and `eval` that find a finished run; pages without plots."""
    monkeypatch.setattr(writing, "write_png", lambda *_: None)
    monkeypatch.setattr(html, "inline", lambda *_: "")
    from kerasft import evaluation, training

    run = made_run(tmp_path / "run")
    result = training.TrainResult(run, "finished", "", run.record())
    monkeypatch.setattr(training, "train", lambda *_, **__: result)
    scores = json.loads((run.eval / "validation.json").read_text("utf-8"))
    decoding = {side: {"rows_per_second": 1.0, "resumed": 0} for side in ("tuned", "base")}
    scores |= {"decoding": decoding, "files": ["validation.json"], "predictions": []}
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: scores)
    return run


@pytest.mark.parametrize("command", [["train", "--recipe", "sql"], ["eval"]])
def test_train_and_eval_end_by_naming_the_page(command, trained, capsys):
    line = command if command[0] == "train" else [*command, str(trained.path)]
    assert main.run(line) == 0
    page = trained.path / "report.html"
    assert str(page) in capsys.readouterr().out.splitlines()[-4:]
    page.unlink()
    assert main.run([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(page)
    assert page.is_file()


def test_a_page_that_cannot_be_written_is_a_note(trained, capsys):
    (trained.path / "report.html").mkdir()
    assert main.run(["train", "--recipe", "sql", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["report"] is None
    assert "the report could not be written" in shown.err


def test_scores_that_lie_elsewhere_change_no_page(trained, tmp_path, capsys):
    assert main.run(["eval", str(trained.path), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None
    assert not (trained.path / "report.html").exists()
