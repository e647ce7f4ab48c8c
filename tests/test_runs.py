"""The run folder: made before the work, readable after a kill, deleted with care."""

import os
import shutil
import sys

import pytest

from kerasft import recipe, runs
from kerasft.errors import RunError
from kerasft.locking import RunLock
from kerasft.records import write_json

RECIPE = recipe.resolve(
    {
        "task": "instruct",
        "model": {"preset": "gemma3-270m"},
        "data": {"source": "rows.jsonl"},
        "prompt": {"template": "instruction"},
    }
)


@pytest.fixture
def run(tmp_path) -> runs.RunFolder:
    return runs.RunFolder.create(tmp_path / "runs" / "first", RECIPE, "mine")


def test_a_new_run_holds_its_recipe_and_says_that_it_runs(run):
    opened = runs.RunFolder.open(run.path)
    assert opened.recipe() == RECIPE
    record = opened.record()
    assert (record["name"], record["status"]) == ("mine", "running")
    assert record["started"].endswith("+00:00")
    assert sorted(path.name for path in run.path.iterdir()) == ["recipe.toml", "run.json"]
    assert opened.metrics() == []


def test_without_out_the_name_and_the_time_make_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [runs.RunFolder.create(None, RECIPE, "sql").path for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(path.parts[0] == "runs" and path.name.startswith("sql-20") for path in folders)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path, run):
    with pytest.raises(RunError, match=r"is not empty, `kerasft train --resume .*` continues it"):
        runs.RunFolder.create(run.path, RECIPE, "again")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty, it stays; give another folder with --out"):
        runs.RunFolder.create(tmp_path, RECIPE, "again")
    with pytest.raises(RunError, match=r"note\.txt cannot be written"):
        runs.RunFolder.create(tmp_path / "note.txt", RECIPE, "again")
    assert (tmp_path / "note.txt").read_text() == "mine"
    assert runs.RunFolder.open(run.path).record()["name"] == "mine"


def test_too_little_room_is_said_before_the_run_and_leaves_no_folder(tmp_path):
    with pytest.raises(RunError, match=r"of free disk, and the run needs about 1,000,0"):
        runs.RunFolder.create(tmp_path / "a" / "b", RECIPE, "mine", room_bytes=10**18)
    assert not (tmp_path / "a").exists()


def test_a_disk_that_takes_no_byte_is_noticed_though_it_reports_room(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; check its rights and its disk"):
        runs.RunFolder.create(tmp_path / "a", RECIPE, "mine")
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root writes where it has no right"
)
def test_a_read_only_place_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written: Permission denied"):
        runs.RunFolder.create(tmp_path / "a", RECIPE, "mine")
    tmp_path.chmod(0o700)


def test_the_record_takes_listed_fields_and_keeps_the_others(run):
    run.update_run(device="CPU, 2 cores", first_loss=3.25)
    run.end("stopped", "Ctrl-C", last_loss=float("nan"))
    record = run.record()
    assert (record["device"], record["first_loss"], record["last_loss"]) == (
        "CPU, 2 cores",
        3.25,
        None,
    )
    assert (record["status"], record["why"], record["name"]) == ("stopped", "Ctrl-C", "mine")
    assert record["finished"] >= record["started"]
    with pytest.raises(RunError, match="no field environment, token"):
        run.update_run(token="x", environment={})
    with pytest.raises(RunError, match="status 'done' is not one of running"):
        run.update_run(status="done")
    assert run.record() == record


def test_no_secret_of_the_environment_reaches_the_folder(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-value-0123")
    run.end(
        "failed", "401 for https://user:canary-value-0123@hub", data={"x": ["canary-value-0123"]}
    )
    run.append_metrics([{"step": 1, "note": "canary-value-0123"}])
    for file in run.path.rglob("*"):
        assert b"canary" not in file.read_bytes(), file


def test_metrics_are_lines_and_a_torn_one_is_forgotten(run):
    run.append_metrics([{"step": 1, "loss": 3.0}, {"step": 2, "loss": float("inf")}])
    with run.metrics_file.open("ab") as file:
        file.write(b'{"step": 3, "lo')
    two = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": None}]
    assert run.metrics() == two
    run.append_metrics([{"step": 3, "loss": 2.0}])
    assert run.metrics() == [*two, {"step": 3, "loss": 2.0}]
    run.keep_metrics(last_step=1)
    assert run.metrics() == two[:1]


def test_a_damaged_line_in_the_middle_is_named(run):
    run.metrics_file.write_bytes(b'{"step": 1}\n{"st\xffep\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        run.metrics()


@pytest.mark.parametrize("place", ["missing", "plain"])
def test_only_a_run_folder_opens(tmp_path, place):
    (tmp_path / "plain").mkdir()
    with pytest.raises(RunError, match="`kerasft runs list` shows the runs"):
        runs.RunFolder.open(tmp_path / place)


def test_runs_are_listed_oldest_first_and_a_damaged_one_is_shown(run, tmp_path):
    root = tmp_path / "runs"
    second = runs.RunFolder.create(root / "second", RECIPE, "other")
    second.update_run(started="2020-01-01T00:00:00+00:00", steps=7, last_loss=0.5, backend="jax")
    second.append_metrics([{"step": 7}])
    broken = runs.RunFolder.create(root / "broken", RECIPE, "broken")
    broken.record_file.write_text("{")
    (root / "notes").mkdir()
    (root / "file.txt").write_text("x")
    listed = {summary.path.name: summary for summary in runs.list_runs(root)}
    assert list(listed) == ["broken", "second", "first"]
    assert listed["broken"].status == "damaged" and "run.json is damaged" in listed["broken"].why
    assert (listed["second"].steps, listed["second"].last_loss) == (7, 0.5)
    assert listed["second"].bytes == sum(path.stat().st_size for path in second.path.iterdir())
    assert runs.list_runs(tmp_path / "nowhere") == []


def test_a_run_that_nobody_trains_was_killed(run, tmp_path):
    def listed() -> list[str]:
        return [summary.status for summary in runs.list_runs(run.path.parent)]

    assert listed() == ["killed"]
    with RunLock(run.path):
        assert listed() == ["running"]
        run.end("finished")
        assert listed() == ["finished"]
    assert listed() == ["finished"]


def test_only_an_ended_run_is_deleted(run):
    with pytest.raises(RunError, match=r"was killed while it was running.*--force"):
        runs.remove_run(run.path)
    run.end("finished")
    (run.path / "adapter").mkdir()
    (run.path / "adapter" / "adapter.safetensors").write_bytes(bytes(1000))
    assert runs.remove_run(run.path) > 1000
    assert list(run.path.parent.iterdir()) == []


def test_a_run_that_says_it_runs_goes_by_force_and_a_damaged_one_without(run):
    assert runs.remove_run(run.path, force=True) > 0
    damaged = runs.RunFolder.create(run.path, RECIPE, "mine")
    damaged.record_file.write_text("{")
    assert runs.remove_run(damaged.path) > 0


def test_what_is_no_run_folder_is_never_deleted(run, tmp_path):
    run.end("finished")
    precious = tmp_path / "precious"
    precious.mkdir()
    write_json(precious / "run.json", {"status": "finished"})
    link = tmp_path / "link"
    link.symlink_to(run.path, target_is_directory=True)
    with pytest.raises(RunError, match="is not a run folder; nothing was deleted"):
        runs.remove_run(precious)
    with pytest.raises(RunError, match="is a link"):
        runs.remove_run(link)
    assert precious.is_dir() and run.record_file.is_file()


def test_a_deletion_cut_short_leaves_no_run_and_is_finished_by_the_next(run, monkeypatch):
    run.end("finished")

    def cut_short(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_short)
        with pytest.raises(RunError, match="cannot be deleted: Input/output error"):
            runs.remove_run(run.path)
    assert runs.list_runs(run.path.parent) == []
    again = runs.RunFolder.create(run.path, RECIPE, "mine")
    again.end("finished")
    runs.remove_run(again.path)
    assert list(run.path.parent.iterdir()) == []


def test_a_run_in_which_a_process_trains_is_not_deleted_by_force_either(run):
    with RunLock(run.path), pytest.raises(RunError, match=rf"in use by process {os.getpid()}"):
        runs.remove_run(run.path, force=True)
    assert runs.remove_run(run.path, force=True) > 0
