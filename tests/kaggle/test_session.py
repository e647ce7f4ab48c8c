"""`Session`: what it runs, with how much time, and what it makes of the way a command ends."""

import os
import sys
import time
from pathlib import Path

import pytest

from kerasft.errors import KerasftError
from kerasft.kaggle.session import MARGIN_SECONDS, Session
from kerasft.recipe import load, to_toml
from kerasft.runs import RunFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")

TOKEN = "hf_" + "c4n4ry" * 5


@pytest.fixture
def python(monkeypatch, tmp_path):
    """Puts a shell script in the place of the interpreter that runs the commands."""

    def stand_in(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand_in


def session(folder: Path, started: float = 0.0, **options) -> Session:
    (folder / "sql.toml").write_text(to_toml(load("sql")), "utf-8")
    return Session(
        folder / "run",
        folder / "sql.toml",
        started=time.time() - started,
        **{"limit": "12h", "reserve": "45m", **options},
    )


def run_of(folder: Path, status: str, *overrides: str) -> RunFolder:
    run = RunFolder.create(folder / "run", load("sql", overrides), "sql")
    run.end(status, steps=5)
    return run


def budget(said: str) -> str:
    return said.partition("--time-budget ")[2].split()[0]


def test_training_gets_what_is_left_less_the_reserve(python, tmp_path, capsys):
    python('echo "arguments: $@"')
    session(tmp_path, started=3600).train("jax")
    said = capsys.readouterr().out
    assert f"-m kerasft train --recipe {tmp_path / 'sql.toml'} --backend jax" in said
    assert f"--out {tmp_path / 'run'}" in said
    seconds = 11 * 3600 - 45 * 60 - MARGIN_SECONDS
    assert budget(said) in (f"{seconds // 3600}h{seconds % 3600 // 60}m", "10h9m59s")


def test_a_session_without_time_still_makes_a_step(python, tmp_path, capsys):
    python('echo "arguments: $@"')
    session(tmp_path, limit="1s").train("torch")
    assert budget(capsys.readouterr().out) == "1s"


def test_a_stopped_run_is_resumed_with_what_changed(python, tmp_path, capsys):
    python('echo "arguments: $@"')
    run_of(tmp_path, "stopped", "train.epochs=3")
    session(tmp_path).train("torch")
    said = capsys.readouterr().out
    assert f"train --resume {tmp_path / 'run'} --set train.epochs=1 --time-budget" in said
    assert "Save and run another version" in said


def test_a_finished_run_is_left_unless_it_is_to_be_longer(python, tmp_path, capsys):
    python('echo "arguments: $@"')
    run_of(tmp_path, "finished", "eval.limit=3")
    here = session(tmp_path)
    assert here.finished
    here.train("torch")
    assert "is trained to its end" in capsys.readouterr().out
    (tmp_path / "sql.toml").write_text(to_toml(load("sql", ["train.epochs=2"])), "utf-8")
    here.train("torch")
    assert "--set train.epochs=2" in capsys.readouterr().out
    assert not session(tmp_path, limit="1s").finished


def test_the_device_is_looked_for_first(python, tmp_path, capsys):
    python('echo "arguments: $@"; case "$@" in *device*) exit 1;; esac')
    with pytest.raises(KerasftError, match=r"kerasft\.kaggle\.device torch ended with"):
        session(tmp_path).train("torch", "gpu")
    said = capsys.readouterr().out
    assert "-m kerasft.kaggle.device torch gpu" in said and " train " not in said


def test_a_failure_ends_the_notebook(python, tmp_path, capsys):
    python("echo why it failed >&2; exit 1")
    with pytest.raises(KerasftError, match="kerasft eval ended with exit code 1"):
        session(tmp_path).kerasft("eval", "run")
    assert "why it failed" in capsys.readouterr().out


def test_an_interrupted_command_interrupts_the_notebook(python, tmp_path):
    python("exit 130")
    with pytest.raises(KeyboardInterrupt):
        session(tmp_path).kerasft("eval", "run")


def test_a_command_ends_before_the_session_does(python, tmp_path, capsys):
    python("echo begun; exec sleep 60")
    began = time.monotonic()
    session(tmp_path, limit=f"{MARGIN_SECONDS + 1}s").kerasft("eval", "run")
    assert time.monotonic() - began < 30
    said = capsys.readouterr().out
    assert "The session's time is used up" in said


def test_secrets_are_masked_in_what_a_command_prints(python, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    python('echo "token $HF_TOKEN"')
    session(tmp_path).kerasft("export", "run")
    said = capsys.readouterr().out
    assert TOKEN not in said and "token [masked]" in said


def test_a_session_that_is_not_what_it_should_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="8h30m"):
        session(tmp_path, limit="a while")
