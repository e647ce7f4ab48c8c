"""Checkpoints are complete and verified, or ignored; an older one is never lost first."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerasft.engine import checkpoint
from kerasft.errors import RunError

TENSORS = {
    "adapter/decoder_block_0/attention/query/a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "optimizer/0000": np.array(7, np.int64),
    "seed/0000": np.array([1, 2**32 - 1], np.uint32),
}
STATE = {"progress": {"step": 3, "best_loss": None}, "samples": [{"prompt": "café ≥ 3"}]}


def save(folder: Path, step: int, keep: int = 3) -> Path:
    return checkpoint.save(folder, step, TENSORS, {**STATE, "step": step}, keep=keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_round_trip(tmp_path):
    path = save(tmp_path, 100)
    assert names(path) == ["manifest.json", "state.json", "state.safetensors"]
    found, notes = checkpoint.latest(tmp_path)
    assert not notes
    assert (found.path, found.step, found.state) == (path, 100, {**STATE, "step": 100})
    assert found.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].shape == value.shape  # a step count has none
        np.testing.assert_array_equal(found.tensors[name], value)


def test_nothing_there(tmp_path):
    assert checkpoint.latest(tmp_path) == (None, [])
    assert checkpoint.latest(tmp_path / "missing") == (None, [])


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (5, 999_999, 1_000_000):
        save(tmp_path, step)
    assert [path.name for path in checkpoint.complete(tmp_path)] == [
        "step-000005",
        "step-999999",
        "step-1000000",
    ]
    assert checkpoint.latest(tmp_path)[0].step == 1_000_000


def test_an_unfinished_folder_is_ignored_with_a_note(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").unlink()
    found, notes = checkpoint.latest(tmp_path)
    assert found.step == 1
    assert notes == ["step-000002 was never finished and is ignored"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_flipped_byte_falls_back_to_the_one_before(tmp_path, name):
    save(tmp_path, 1)
    flip(save(tmp_path, 2) / name)
    found, notes = checkpoint.latest(tmp_path)
    assert found.step == 1
    assert len(notes) == 1 and "step-000002 is damaged" in notes[0] and name in notes[0]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("left", [0, 20])
def test_a_truncated_file_falls_back_to_the_one_before(tmp_path, name, left):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    path.write_bytes(path.read_bytes()[:left])
    found, notes = checkpoint.latest(tmp_path)
    assert found.step == 1 and len(notes) == 1


@pytest.mark.parametrize(
    "manifest",
    [[], {}, {"files": {}}]
    + [
        {"schema_version": checkpoint.SCHEMA_VERSION, "files": files}
        for files in (3, {}, {"x": 1}, {"state.json": {}})
    ]
    + [{"schema_version": checkpoint.SCHEMA_VERSION + 1, "files": {}}],
)
def test_a_manifest_that_vouches_for_nothing_is_no_manifest(tmp_path, manifest):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").write_text(json.dumps(manifest))
    found, notes = checkpoint.latest(tmp_path)
    assert found.step == 1 and "step-000002" in notes[0]


def test_the_newest_ones_stay(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-000003", "step-000004"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 1)
    checkpoint.save(tmp_path, 1, TENSORS, {"second": True}, keep=1)
    assert names(tmp_path) == ["step-000001"]
    assert checkpoint.latest(tmp_path)[0].state == {"second": True}


def test_a_step_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    save(tmp_path, 1)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(RunError, match="Input/output error"):
            checkpoint.save(tmp_path, 1, TENSORS, {"second": True}, keep=1)
    assert names(tmp_path) == ["step-000001"]
    assert checkpoint.latest(tmp_path)[0].state == {**STATE, "step": 1}


def test_a_folder_of_a_later_step_does_not_outlive_the_next_save(tmp_path):
    """The run was set back behind it, by damage say: it is of a past that did not happen."""
    save(tmp_path, 3)
    flip(save(tmp_path, 9) / "state.json")
    (tmp_path / "step-000008").mkdir()
    save(tmp_path, 4, keep=2)
    assert names(tmp_path) == ["step-000003", "step-000004"]


@pytest.mark.parametrize("moved", [True, False])
def test_a_kill_while_a_step_is_replaced_loses_nothing(tmp_path, moved):
    path = save(tmp_path, 7)
    former = tmp_path / f".{path.name}.old"
    (tmp_path / ".step-000006.tmp").mkdir()
    if moved:
        path.rename(former)
    else:
        former.mkdir()
    checkpoint.recover(tmp_path)
    assert names(tmp_path) == ["step-000007"]
    assert checkpoint.verify(path) is None


def test_what_a_killed_save_left_is_written_over(tmp_path):
    left = tmp_path / ".step-000001.tmp"
    left.mkdir()
    (left / "state.safetensors").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) == (None, [])
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-000001"]


def test_older_ones_stay_until_the_new_one_reads_back(tmp_path, monkeypatch):
    save(tmp_path, 1, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "verify", lambda path: "state.json does not match")
        with pytest.raises(RunError, match=r"step-000002.*state\.json does not match.*disk"):
            save(tmp_path, 2, keep=1)
    assert "step-000001" in names(tmp_path)
    assert checkpoint.verify(tmp_path / "step-000001") is None


def test_a_full_disk_leaves_the_older_ones_and_nothing_half_written(tmp_path, monkeypatch):
    import safetensors.numpy

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    save(tmp_path, 1)
    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(
        RunError, match=r"step-000002 could not be written \(.*No space left.*resume"
    ):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-000001"]
    assert checkpoint.latest(tmp_path)[0].step == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_write_that_the_system_refuses_is_explained(tmp_path):
    """safetensors writes in Rust and has its own error for it."""
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from kerasft.engine import checkpoint
from kerasft.errors import RunError
folder = Path(sys.argv[1])
checkpoint.save(folder, 1, {"x": np.zeros(8)}, {}, keep=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(folder, 2, {"x": np.zeros(1_000_000)}, {}, keep=1)
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "step-000002 could not be written" in done.stdout
    assert names(tmp_path) == ["step-000001"]
    assert checkpoint.latest(tmp_path)[0].step == 1
