"""A contender that fails or hangs is told, and is gone."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from kerasft.bench import processes
from kerasft.bench.processes import folder_for_logs, run_modules, run_worker


def test_the_reason_of_a_failure_is_its_error(tmp_path: Path) -> None:
    ended = run_worker("hf", tmp_path, folder_for_logs(tmp_path) / "hf.log", timeout=60)
    assert ended.status == "failed"
    assert ended.reason.startswith("FileNotFoundError") and "work.json" in ended.reason
    assert "Traceback" in (tmp_path / "logs" / "hf.log").read_text()


def test_an_old_result_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "hf.json").write_text("{}")
    assert run_worker("hf", tmp_path, tmp_path / "hf.log", timeout=60).status == "failed"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch) -> Path:
    """What a child of the worker writes to as long as it lives."""
    marker, script = tmp_path / "alive", tmp_path / "sleeper"
    script.write_text(
        f"#!/bin/sh\n(while true; do date +%s%N > {marker}; sleep 0.05; done) &\nsleep 60\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(script))
    return marker


def assert_nobody_writes(marker: Path) -> None:
    last = marker.read_text()
    time.sleep(0.3)
    assert marker.read_text() == last


def test_a_process_that_takes_too_long_is_ended_with_its_children(tmp_path, marker) -> None:
    ended = run_worker("hf", tmp_path, tmp_path / "hf.log", timeout=1)
    assert (ended.status, ended.reason) == ("timeout", "not done after 1 s")
    assert_nobody_writes(marker)


def test_sigterm_ends_what_was_started(tmp_path, marker) -> None:
    def terminate() -> None:
        while not marker.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=terminate)
    sender.start()
    with pytest.raises(SystemExit) as ended:
        run_worker("hf", tmp_path, tmp_path / "hf.log", timeout=60)
    sender.join()
    assert ended.value.code == 143
    assert_nobody_writes(marker)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_killed_process_says_so(tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "dies"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(script))
    ended = run_worker("hf", tmp_path, tmp_path / "hf.log", timeout=10)
    assert ended.reason == "killed by SIGKILL, perhaps for want of memory"


def test_many_run_some_at_a_time_and_are_told_in_their_order(tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "counts"
    script.write_text(
        f"#!/bin/sh\ncd {tmp_path}; mkdir running-$3; ls -d running-* | wc -l >> seen\n"
        "sleep 0.$3; rmdir running-$3; echo Error: $3; exit $4\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(script))
    tasks = [([f"{9 - place}", str(place % 2)], tmp_path / f"{place}.log") for place in range(5)]
    ended = run_modules([(["module", *words], log) for words, log in tasks], 2)
    assert [each.status for each in ended] == ["ok", "failed", "ok", "failed", "ok"]
    assert [each.reason for each in ended] == ["", "Error: 8", "", "Error: 6", ""]
    assert max(map(int, (tmp_path / "seen").read_text().split())) == 2


def test_an_interruption_ends_all_that_run(tmp_path, marker, monkeypatch) -> None:
    def interrupted(seconds: float) -> None:
        while not marker.exists():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_modules([(["one"], tmp_path / "1.log"), (["two"], tmp_path / "2.log")], 2)
    monkeypatch.undo()
    assert_nobody_writes(marker)
