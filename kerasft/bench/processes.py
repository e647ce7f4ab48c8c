"""Running a contender in a process of its own, and saying why it failed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from kerasft.errors import RunError
from kerasft.masking import masked
from kerasft.records import cannot_write

_REASON = 300  # characters
_POLL_SECONDS = 0.1
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit)(:|$)")


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: `ok`, `failed` or `timeout`.
        reason: in a sentence, where it is not `ok`.
        result: the JSON object that it left.
    """

    status: str
    reason: str
    result: Mapping[str, Any]


def folder_for_logs(out: Path) -> Path:
    """Make the folder of the results' logs.

    Raises:
        RunError: it cannot be made.
    """
    logs = out / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(cannot_write(logs, error)) from error
    return logs


def run_worker(task: str, folder: Path, log: Path, timeout: float) -> Ended:
    """Run `python -m kerasft.bench.worker TASK FOLDER`, and all that it starts, up to a time.

    Args:
        task: a contender's name, or another task that the worker knows.
        folder: has work.json and rows.npz; TASK.json is left there.
        log: gets its output, in a folder that is there.
        timeout: seconds.
    """
    result = folder / f"{task}.json"
    result.unlink(missing_ok=True)
    ended = run_module(["kerasft.bench.worker", task, str(folder)], log, timeout)
    if ended.status == "ok":
        if result.is_file():
            return Ended("ok", "", json.loads(result.read_text("utf-8")))
        return Ended("failed", _reason(0, log.read_text("utf-8", errors="replace")), {})
    return ended


def run_module(arguments: Sequence[str], log: Path, timeout: float | None = None) -> Ended:
    """Run `python -m ARGUMENTS`, and all that it starts, up to a time.

    Args:
        arguments: the module and what it is given.
        log: gets its output, in a folder that is there.
        timeout: seconds; as long as it takes where not given.
    """
    with _terminated(), _started(arguments, log) as process:
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return Ended("timeout", f"not done after {timeout:g} s", {})
    return _ended(code, log)


def run_modules(tasks: Sequence[tuple[Sequence[str], Path]], at_once: int) -> list[Ended]:
    """Run `python -m ARGUMENTS` for many, some at a time.

    Args:
        tasks: arguments and log of each, as for `run_module`.
        at_once: the most processes at any time.

    Returns:
        How each ended, in the order of the tasks.
    """
    ended: dict[int, Ended] = {}
    with _terminated(), contextlib.ExitStack() as all_of_them:
        waiting = list(enumerate(tasks))
        running: dict[int, tuple[subprocess.Popen, contextlib.ExitStack]] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                place, (arguments, log) = waiting.pop(0)
                own = all_of_them.enter_context(contextlib.ExitStack())
                running[place] = own.enter_context(_started(arguments, log)), own
            for place, (process, own) in list(running.items()):
                if process.poll() is not None:
                    own.close()
                    ended[place] = _ended(process.returncode, tasks[place][1])
                    del running[place]
            time.sleep(_POLL_SECONDS if running else 0)
    return [ended[place] for place in range(len(tasks))]


@contextlib.contextmanager
def _started(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """A process that writes to a log; at the end of the block it and its children have ended."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _ended(code: int, log: Path) -> Ended:
    if code == 0:
        return Ended("ok", "", {})
    return Ended("failed", _reason(code, log.read_text("utf-8", errors="replace")), {})


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM unwinds, as Ctrl-C does, so that it ends what was started too.

    Not outside the main thread, where no signal can be received, and not where SIGTERM does
    something else already.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(process: subprocess.Popen) -> None:
    """End a process with its children, which compilers leave behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _reason(code: int, output: str) -> str:
    """The error that a process died of: its last line that names one, else how it ended."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    text = (named or lines or [f"exit code {code}"])[-1]
    return masked(text if len(text) <= _REASON else text[: _REASON - 1] + "…")
