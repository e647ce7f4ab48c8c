"""`kerasft runs`."""

import json

import pytest

from kerasft import recipe
from kerasft.cli.main import run
from kerasft.runs import RunFolder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").write_bytes(bytes(2_000_000))
    ended = RunFolder.create(tmp_path / "runs" / "a", recipe.load("sql"), "sql")
    ended.end("finished", steps=12, last_loss=0.25, backend="jax")
    RunFolder.create(tmp_path / "runs" / "b", recipe.load("dolly"), "dolly")
    return tmp_path


def test_list_shows_runs_and_caches(root, capsys):
    assert run(["runs", "list"]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("runs/a"))
    assert line.split()[1:6] == ["finished", "sql", "jax", "12", "0.25"]
    assert "killed" in next(line for line in shown.splitlines() if line.startswith("runs/b"))
    cache = next(line for line in shown.splitlines() if line.startswith("kerasft"))
    assert "2.0 MB" in cache and str(root / "cache") in cache


def test_list_as_json(root, capsys):
    assert run(["runs", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["path"], one["status"]) for one in listed["runs"]] == [
        ("runs/a", "finished"),
        ("runs/b", "killed"),
    ]
    assert {cache["name"]: cache["bytes"] for cache in listed["caches"]}["kerasft"] == 2_000_000
    assert all(one["bytes"] > 0 for one in listed["runs"])


def test_no_runs_is_no_error(root, capsys):
    assert run(["runs", "list", "elsewhere"]) == 0
    assert "No runs in elsewhere." in capsys.readouterr().out


def test_rm_deletes_what_has_ended_and_says_what_it_left(root, capsys):
    assert run(["runs", "rm", "runs/a", "runs/b", "runs/c"]) == 1
    shown = capsys.readouterr()
    assert "runs/a: deleted" in shown.out
    assert "was killed" in shown.err and "runs/c is not a run folder" in shown.err
    assert sorted(path.name for path in (root / "runs").iterdir()) == ["b"]
    assert run(["runs", "rm", "runs/b", "--force", "--json"]) == 0
    (removed,) = json.loads(capsys.readouterr().out)
    assert removed["removed"] == "runs/b" and removed["bytes"] > 0
    assert not (root / "runs" / "b").exists()
