"""What a notebook's cells call: one recipe, trained over as many sessions as it takes.

A session of Kaggle or Colab ends after some hours, and with it what runs. Training is given
what the session has left, less a reserve for what follows; a run that was stopped goes on in
the next session. Every command is a process of its own, so that each has the device's memory
to itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kerasft.durations import seconds_of, written
from kerasft.errors import KerasftError
from kerasft.kaggle.previous import changed, put_in_place
from kerasft.masking import masked
from kerasft.recipe import load
from kerasft.runs import RunFolder, is_run

MARGIN_SECONDS = 300
"""Of a session that nothing may use: starting the machine, keeping the output."""

_LENGTH = {"train.epochs", "train.max_steps"}
"""What makes a finished run go on."""

_INTERRUPTED = 130
_SAVING_SECONDS = 120


class Session:
    """One session of a notebook.

    Args:
        run: the run folder, on a disk that is kept.
        recipe: the recipe's file.
        started: `time.time()` when the session began.
        limit: length of the session, such as `12h`.
        reserve: of it left to scores, export and push, such as `45m`.
        earlier: folder below which outputs of earlier sessions lie; None where the run
            folder itself outlives a session.
    """

    def __init__(
        self,
        run: str | Path,
        recipe: str | Path,
        *,
        started: float,
        limit: str,
        reserve: str,
        earlier: str | Path | None = None,
    ) -> None:
        self.run, self.recipe = Path(run), Path(recipe)
        self._ends = started + seconds_of(limit) - MARGIN_SECONDS
        self._reserve = seconds_of(reserve)
        self._earlier = Path(earlier) if earlier is not None else None

    def left(self) -> float:
        """Seconds that the session has left; negative when they are used up."""
        return self._ends - time.time()

    @property
    def finished(self) -> bool:
        """Whether training came to its end, and the session has time for what follows."""
        return self._status() == "finished" and self.left() > 0

    def train(self, backend: str, kind: str = "cpu") -> None:
        """Start the run, go on with it, or leave it where it is finished.

        Args:
            backend: `torch` or `jax`.
            kind: the device that must be there: `gpu`, `tpu` or `cpu`.

        Raises:
            KerasftError: the device is not there, or training failed; what is saved stays.
        """
        if kind != "cpu":
            self._process("kerasft.kaggle.device", backend, kind)
        recipe = load(str(self.recipe))
        if put_in_place(self.run, recipe, self._earlier):
            settings = changed(self.run, recipe)
            if self._status() == "finished" and _LENGTH.isdisjoint(settings):
                print(f"{self.run} is trained to its end.")
                return
            arguments: list[Any] = ["--resume", self.run]
            for name, value in settings.items():
                arguments += ["--set", f"{name}={value}"]
        else:
            arguments = ["--recipe", self.recipe, "--backend", backend, "--out", self.run]
        budget = max(self.left() - self._reserve, 1)
        self._process("kerasft", "train", *arguments, "--time-budget", written(budget))
        if not self.finished:
            print("Not finished. Save and run another version: it goes on from here.")

    def kerasft(self, *arguments: object) -> None:
        """One command, ended where the session would end it, and never with it.

        Raises:
            KerasftError: it failed.
        """
        if not self._process("kerasft", *arguments, seconds=max(self.left(), 0)):
            print("The session's time is used up. Save and run another version for the rest.")

    def _status(self) -> str:
        return str(RunFolder.open(self.run).record()["status"]) if is_run(self.run) else ""

    def _process(self, module: str, *arguments: object, seconds: float | None = None) -> bool:
        """Runs a module and prints what it prints; False where its time was over."""
        words = [module, *map(str, arguments)]
        print("$ python -m", *words, flush=True)
        over = threading.Event()
        with subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        ) as process:

            def end() -> None:
                over.set()
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_SAVING_SECONDS)
                process.kill()

            timer = threading.Timer(seconds, end) if seconds is not None else None
            if timer is not None:
                timer.daemon = True
                timer.start()
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(masked(line), end="", flush=True)
                code = process.wait()
            except KeyboardInterrupt:
                # The command is interrupted as well: it saves before it ends.
                process.wait(_SAVING_SECONDS)
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        if code == 0:
            return True
        if over.is_set():
            return False
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        raise KerasftError(
            f"{' '.join(words[:2])} ended with exit code {code}; the reason stands above. What was "
            "saved before it is kept."
        )
