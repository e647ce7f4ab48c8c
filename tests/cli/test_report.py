"""`kerasft report`: which folders it takes, and what it prints."""

import json

from kerasft.cli import main
from tests.report.made import made_comparison, made_run


def test_a_run_and_a_comparison_become_pages(tmp_path, capsys):
    run = made_run(tmp_path / "run")
    assert main.run(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.path / "report.html")
    made_comparison(seeds=1).write(tmp_path)
    assert main.run(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "report.html")}
    assert "Keras and Hugging Face" in (tmp_path / "report.html").read_text("utf-8")


def test_other_folders_are_told_what_is_wanted(tmp_path, capsys):
    assert main.run(["report", str(tmp_path / "nowhere")]) == 1
    assert "no folder; give a run folder" in capsys.readouterr().err
    assert main.run(["report", str(tmp_path)]) == 1
    assert "neither a run folder nor a comparison" in capsys.readouterr().err
