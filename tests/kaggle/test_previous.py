"""Which run of an earlier session is gone on with, and how it is brought over."""

import os
from pathlib import Path

import pytest

from kerasft.kaggle.previous import changed, copy_run, put_in_place, runs_below
from kerasft.recipe import Recipe, load
from kerasft.runs import RunFolder


@pytest.fixture
def recipe() -> Recipe:
    return load("sql")


def made(path: Path, recipe: Recipe, steps: int, status: str = "stopped") -> RunFolder:
    path.parent.mkdir(parents=True, exist_ok=True)
    run = RunFolder.create(path, recipe, "sql")
    run.end(status, steps=steps)
    (run.adapter).mkdir()
    (run.adapter / "adapter.json").write_text("{}", "utf-8")
    return run


def test_without_an_earlier_session_there_is_nothing_to_go_on_with(recipe, tmp_path, capsys):
    assert not put_in_place(tmp_path / "run", recipe, tmp_path / "none")
    assert not put_in_place(tmp_path / "run", recipe)
    assert list(tmp_path.iterdir()) == []
    assert "it is started" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["kerasft-sql", "notebooks/me/kerasft-sql"])
def test_a_run_is_found_where_kaggle_mounts_an_output(place, recipe, tmp_path, capsys):
    earlier = made(tmp_path / "input" / place / "run", recipe, 40)
    assert put_in_place(tmp_path / "run", recipe, tmp_path / "input")
    assert RunFolder.open(tmp_path / "run").record()["steps"] == 40
    assert f"{earlier.path}, 40 steps old" in capsys.readouterr().out


def test_of_several_the_one_that_came_furthest_is_taken(recipe, tmp_path):
    for name, steps in (("a", 40), ("b", 70), ("c", 10)):
        made(tmp_path / "input" / name / "run", recipe, steps)
    other = recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"rank": 4})})
    made(tmp_path / "input" / "d" / "run", other, 90)
    assert put_in_place(tmp_path / "run", recipe, tmp_path / "input")
    assert RunFolder.open(tmp_path / "run").record()["steps"] == 70


def test_another_recipes_run_is_named_and_not_touched(recipe, tmp_path, capsys):
    other = load("sql", ["train.seed=7", "lora.rank=4"])
    made(tmp_path / "input" / "k" / "run", other, 40)
    assert not put_in_place(tmp_path / "run", recipe, tmp_path / "input")
    said = capsys.readouterr().out
    assert "train.seed was 7, it is 0" in said and "lora.rank was 4, it is 8" in said
    assert not (tmp_path / "run").exists()


def test_what_lies_in_the_way_is_set_aside_and_kept(recipe, tmp_path, capsys):
    made(tmp_path / "run", load("sql", ["train.seed=7"]), 40)
    assert not put_in_place(tmp_path / "run", recipe)
    assert RunFolder.open(tmp_path / "run-before-1").record()["steps"] == 40
    assert "run-before-1" in capsys.readouterr().out
    (tmp_path / "run").mkdir()
    assert not put_in_place(tmp_path / "run", recipe)
    assert (tmp_path / "run-before-2").is_dir()


def test_the_run_of_this_session_comes_before_those_of_earlier_ones(recipe, tmp_path):
    made(tmp_path / "run", recipe, 50)
    made(tmp_path / "input" / "k" / "run", recipe, 70)
    assert put_in_place(tmp_path / "run", recipe, tmp_path / "input")
    assert RunFolder.open(tmp_path / "run").record()["steps"] == 50


def test_damaged_checkpoints_are_not_gone_on_with(recipe, tmp_path, capsys):
    run = made(tmp_path / "input" / "run", recipe, 50)
    (run.checkpoints / "step-000050").mkdir(parents=True)
    assert not put_in_place(tmp_path / "run", recipe, tmp_path / "input")
    assert "none of its checkpoints is whole" in capsys.readouterr().out


def test_settings_that_may_change_are_told_apart(recipe, tmp_path):
    run = made(tmp_path / "run", recipe, 50)
    longer = load("sql", {"train.epochs": 3, "data.source": 'a "b".jsonl'})
    assert changed(run.path, recipe) == {}
    assert changed(run.path, longer) == {"train.epochs": "3", "data.source": '"a \\"b\\".jsonl"'}
    assert put_in_place(run.path, longer)
    texts = [f"{name}={value}" for name, value in changed(run.path, longer).items()]
    assert load("sql", texts) == longer


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_a_copy_of_a_read_only_folder_can_be_written_to(recipe, tmp_path):
    run = made(tmp_path / "input" / "run", recipe, 5)
    (run.path / ".lock").write_text("{}", "utf-8")
    for path in sorted(run.path.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy_run(run.path, tmp_path / "run")
    found = (tmp_path / "run").rglob("*")
    copies = {path.relative_to(tmp_path / "run").as_posix(): path for path in found}
    assert copies.keys() == {"recipe.toml", "run.json", "adapter", "adapter/adapter.json"}
    assert all(path.stat().st_mode & 0o200 for path in copies.values())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_runs_within_runs_and_deep_below_are_not_looked_for(recipe, tmp_path):
    outer = made(tmp_path / "a" / "run", recipe, 1)
    made(outer.path / "inner", recipe, 1)
    made(tmp_path / "1/2/3/4/5/6/7/8/run", recipe, 1)
    assert list(runs_below(tmp_path)) == [outer.path]
