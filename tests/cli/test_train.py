"""`kerasft train`, from the command line to the library's call and back."""

import json
from importlib import import_module

import pytest

from kerasft import recipe
from kerasft.cli.main import run
from kerasft.errors import DataError
from kerasft.runs import RunFolder

ENDED = {
    "backend": "jax",
    "planned_steps": 40,
    "steps": 20,
    "first_loss": 3.5,
    "last_loss": 0.75,
    "tokens_per_second": 1234.4,
    "peak_memory_bytes": 3 * 2**30,
    "seconds": 65.2,
    "first_step_seconds": 12.3,
    "compilations": {"count": 3, "seconds": 10.9},
    "padding_share": 0.0187,
    "input_wait_share": 0.0042,
    "remat": "block",
    "validation": {"before": 3.25, "best": 0.875, "best_step": 20},
    "samples": [
        {"prompt": "How many?", "expected": "SELECT 1", "before": "?", "after": "SELECT 1"}
    ],
}


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Stands in for the training itself: keeps the calls, gives back an ended run."""
    training = import_module("kerasft.training")
    calls = []

    def result(status: str, stopped_by: str):
        def called(*args, **named):
            named.pop("reporter")
            calls.append((args, named))
            folder = RunFolder.create(tmp_path / f"run{len(calls)}", recipe.load("sql"), "sql")
            folder.end(status, "asked to stop" if status == "stopped" else "", **ENDED)
            return training.TrainResult(folder, status, "", folder.record(), stopped_by)

        return called

    def ends(status: str, stopped_by: str = "") -> None:
        monkeypatch.setattr(training, "train", result(status, stopped_by))
        monkeypatch.setattr(training, "resume", result(status, stopped_by))

    ends("finished")
    return calls, ends


def test_the_options_reach_the_library(library, tmp_path):
    calls, _ = library
    line = [
        "train",
        "--recipe",
        "sql",
        "--backend",
        "jax",
        "--out",
        str(tmp_path / "x"),
        "--auto-batch",
    ]
    assert run([*line, "--set", "train.max_steps=20", "--set", "model.preset=hf://a/b"]) == 0
    assert run(["train", "--recipe", "sql", "--engine", "hf"]) == 0
    assert run(["train", "--resume", "runs/x"]) == 0
    budget = ["--time-budget", "8h30m", "--set", "train.epochs=3"]
    assert run(["train", "--resume", "runs/x", *budget]) == 0
    changed = {"train.max_steps": 20, "model.preset": "hf://a/b"}
    longer = {"train.epochs": 3, "train.time_budget": "8h30m"}
    assert calls == [
        (
            ("sql",),
            {
                "backend": "jax",
                "engine": "keras",
                "out": tmp_path / "x",
                "auto_batch": True,
                **changed,
            },
        ),
        (("sql",), {"backend": "torch", "engine": "hf", "out": None, "auto_batch": False}),
        (("runs/x",), {"backend": None, "settings": {}}),
        (("runs/x",), {"backend": None, "settings": longer}),
    ]


def test_what_is_printed_is_the_record(library, capsys):
    assert run(["train", "--recipe", "sql"]) == 0
    shown = capsys.readouterr().out
    for part in ("20 of 40", "3.5 → 0.75", "3.25 → 0.875", "1,234", "3.00 GiB", "65.2 s"):
        assert part in shown
    for part in ("12.3 s", "3 in 10.9 s", "1.9%", "0.4%", "block"):
        assert part in shown
    assert "How many?" in shown and "run1 --to hf --out" in shown.replace("\n", "")


def test_json_is_the_record_and_nothing_else(library, capsys, tmp_path):
    assert run(["train", "--recipe", "sql", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["run"] == str(tmp_path / "run1")
    assert (printed["status"], printed["last_loss"]) == ("finished", 0.75)


def test_a_stopped_run_is_130_and_says_how_to_go_on(library, capsys, tmp_path):
    _, ends = library
    ends("stopped", "signal")
    assert run(["train", "--recipe", "sql"]) == 130
    assert f"kerasft train --resume {tmp_path / 'run1'}" in capsys.readouterr().out


def test_a_run_whose_time_is_used_up_is_0_and_says_how_to_go_on(library, capsys, tmp_path):
    _, ends = library
    ends("stopped", "time budget")
    assert run(["train", "--recipe", "sql", "--time-budget", "1h"]) == 0
    assert f"kerasft train --resume {tmp_path / 'run1'}" in capsys.readouterr().out


def test_a_run_of_trl_is_not_told_to_be_gone_on_with(library, capsys, monkeypatch):
    _, ends = library
    monkeypatch.setitem(ENDED, "engine", "trl")
    ends("stopped", "signal")
    assert run(["train", "--recipe", "sql"]) == 130
    assert "--resume" not in capsys.readouterr().out


def test_a_dry_run_of_a_twin_is_wrong_usage(library):
    assert run(["train", "--recipe", "sql", "--engine", "hf", "--dry-run"]) == 2


@pytest.mark.parametrize(
    "option", [["--out", "x"], ["--dry-run"], ["--auto-batch"], ["--engine", "hf"]]
)
def test_what_resume_cannot_do_is_wrong_usage(library, option):
    assert run(["train", "--resume", "runs/x", *option]) == 2
    assert library[0] == []


def test_a_wrong_override_is_told_before_anything(library, capsys):
    assert run(["train", "--recipe", "sql", "--set", "train.max_steps", "--set", "=1"]) == 1
    assert "--set has faults (2)" in capsys.readouterr().err
    assert library[0] == []


def test_rows_that_cannot_be_read_are_1(monkeypatch, capsys):
    def refuse(*args, **named):
        raise DataError("rows.jsonl: line 3: not JSON")

    monkeypatch.setattr(import_module("kerasft.training"), "train", refuse)
    assert run(["train", "--recipe", "sql", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "rows.jsonl: line 3: not JSON"
