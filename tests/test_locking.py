"""A run folder is one process's; a lock ends with its process, however that ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

from kerasft import locking
from kerasft.errors import RunError
from kerasft.locking import NAME, RunLock, is_locked

HOLD = """
import sys, time
from pathlib import Path
from kerasft.locking import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locking, "_PAUSE", 0.001)


def test_another_process_is_refused_by_name_until_it_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunError, match=rf"in use by process {holder.pid} on .* since 20"):
            RunLock(tmp_path).__enter__()
        os.kill(holder.pid, signal.SIGKILL)
    assert (tmp_path / NAME).exists() and not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_within_a_process_too_and_free_afterwards(tmp_path):
    with RunLock(tmp_path), pytest.raises(RunError, match="in use"):
        RunLock(tmp_path).__enter__()
    with RunLock(tmp_path):
        pass
    assert not is_locked(tmp_path)


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """The one before lets go, and removes its file, between our opening and our locking."""
    take, taken = locking.take, []

    def removed(file):
        if not taken:
            (tmp_path / NAME).unlink()
        taken.append(file)
        return take(file)

    monkeypatch.setattr(locking, "take", removed)
    with RunLock(tmp_path):
        assert len(taken) == 2 and (tmp_path / NAME).exists()
        with pytest.raises(RunError):
            RunLock(tmp_path).__enter__()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_who_holds_it_may_be_unknown(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    assert locking.held_by(tmp_path) == "another process"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(RunError, match=r"cannot be written.*copy it to one"):
        RunLock(tmp_path).__enter__()
