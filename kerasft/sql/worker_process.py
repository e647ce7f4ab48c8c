"""The parent's side of a worker process: starting, talking, and killing in time."""

import contextlib
import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from kerasft.errors import SqlError
from kerasft.sql.engine import Engine

START_SECONDS = 30.0
CPU_TIME_SPENT = -signal.SIGXCPU if hasattr(signal, "SIGXCPU") else None  # a return code
LARGEST_MESSAGE = 512 << 20  # bytes; a worker that claims more is not believed
LOADER_VARIABLES = ("LD_LIBRARY_PATH", "SYSTEMROOT")  # without them some Pythons do not start
WORKER = Path(__file__).with_name("worker")
PYTHON = (sys.executable, "-I", "-S", "-u", "-X", "utf8")


class WorkerGone(Exception):
    """The worker's end of the pipe is closed or speaks nonsense."""


def worker_environment() -> dict[str, str]:
    """What a worker gets of this process's environment."""
    return {name: os.environ[name] for name in LOADER_VARIABLES if name in os.environ}


def require_engine(engine: Engine) -> None:
    """Check that an engine can be run, without starting it.

    Raises:
        SqlError: DuckDB is asked for and not installed.
    """
    if engine == "duckdb":
        _duckdb_folder()


class WorkerProcess:
    """One running worker.

    Raises:
        SqlError: it could not be started.
    """

    def __init__(self, engine: Engine, folder: str) -> None:
        arguments = [engine] if engine == "sqlite" else [engine, _duckdb_folder()]
        try:
            self._process = subprocess.Popen(
                [*PYTHON, str(WORKER), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=worker_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise SqlError(f"the SQL worker could not be started: {error}") from None
        watch = Deadline(self, START_SECONDS)
        try:
            self.receive()
        except WorkerGone:
            self.end()
            raise SqlError(
                f"the {engine} worker ended while starting ({self.returncode}); try "
                f"`{sys.executable} -c 'import {engine.replace('sqlite', 'sqlite3')}'` to see why."
            ) from None
        finally:
            watch.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> None:
        """Raises WorkerGone where the worker does not listen."""
        body = json.dumps(message).encode("ascii")
        try:
            self._process.stdin.write(struct.pack(">I", len(body)) + body)
            self._process.stdin.flush()
        except OSError:
            raise WorkerGone from None

    def receive(self) -> dict[str, Any]:
        """Raises WorkerGone where no whole message comes."""
        try:
            head = self._process.stdout.read(4)
            size = struct.unpack(">I", head)[0]
            if size > LARGEST_MESSAGE:
                raise WorkerGone
            return json.loads(self._process.stdout.read(size))
        except (OSError, struct.error, ValueError):
            raise WorkerGone from None

    def kill(self) -> None:
        """Kill the worker and whatever it started; it leads its own process group."""
        if self._process.returncode is not None:
            return
        try:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # it ended by itself in this moment

    def end(self) -> None:
        """Kill it, wait for its end, and close the pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written to a dead worker
                pipe.close()


class Deadline:
    """Kills the worker when time is up. Its thread works where pipes cannot be polled."""

    def __init__(self, worker: WorkerProcess, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running = True
        self.fired = False
        self._start()

    def _start(self) -> None:
        self._timer = threading.Timer(self._seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        with self._lock:
            if self._running and threading.current_thread() is self._timer:
                self.fired = True
                self._worker.kill()

    def restart(self) -> None:
        with self._lock:
            self._timer.cancel()
            self._start()

    def stop(self) -> None:
        with self._lock:
            self._running = False
            self._timer.cancel()


def _duckdb_folder() -> str:
    """Where the duckdb package lies, found without importing it."""
    spec = importlib.util.find_spec("duckdb")
    if spec is None or spec.origin is None:
        raise SqlError(
            "DuckDB databases need the duckdb package, which is not installed; run "
            '`pip install "kerasft[duckdb]"`.'
        )
    return str(Path(spec.origin).parents[1])
