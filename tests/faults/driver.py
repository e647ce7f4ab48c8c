"""Kills a training run again and again, and compares its end with that of a run left alone.

    python -m tests.faults.driver --backend torch --kills 200

Every process is a fork of one that has imported everything and computed nothing, so that a
kill costs a load of the tiny model and not the imports. Half of the kills come at any
instant of the process's life, the other half within milliseconds of the beginning of a
save. A run saves after every step; it is killed `--a-run` times, then it may end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLOCK = {"tokens_per_second", "peak_memory_bytes", "seconds", "input_wait_share"}
"""What may differ between two runs that are the same."""

AIMED_SECONDS = 0.012
"""How long after the beginning of a save the aimed kills come, at the most."""

STEPS = 24


def prepared_recipe(folder: Path) -> Any:
    """Packing, dropout, accumulation and validation; a save after every step."""
    from tests.small import intricate_recipe, say_rows, write_rows

    return intricate_recipe(
        write_rows(folder / "rows.jsonl", say_rows(24)),
        train__epochs=STEPS,
        train__max_steps=STEPS,
        train__checkpoint_every=1,
        train__compile="off",
        eval__samples=0,
    )


def outcome(run: Path) -> dict[str, Any]:
    """All of a run that its data, recipe and seeds decide."""
    from kerasft.engine import checkpoint
    from kerasft.models import adapter
    from kerasft.runs import RunFolder

    folder = RunFolder.open(run)
    record, last = folder.record(), checkpoint.latest(folder.checkpoints)[0]
    return {
        "adapter": {k: v.tobytes() for k, v in adapter.read_tensors(folder.adapter).items()},
        "state": {k: v.tobytes() for k, v in last.tensors.items()},
        "metrics": [
            {key: value for key, value in line.items() if key not in CLOCK}
            for line in folder.metrics()
        ],
        **{key: record[key] for key in ("status", "steps", "tokens", "validation")},
    }


def forked(work: Callable[[], Any], log: Path) -> int:
    """A child that does the work and exits with 0, or writes why not and exits with 1."""
    child = os.fork()
    if child:
        return child
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


class Driver:
    """Runs, kills and counts.

    Args:
        backend: torch or jax; imported, not used, by this process.
        folder: an empty folder for runs and logs.
        seed: of the instants.
    """

    def __init__(self, backend: str, folder: Path, seed: int) -> None:
        self.backend = backend
        self.folder = folder
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.log = folder / "log.txt"
        self.recipe = prepared_recipe(folder)
        whole = folder / "whole"
        self._train(whole)  # fills the caches of compilers and encoded rows
        shutil.rmtree(whole)
        began = time.monotonic()
        self._train(whole)
        self.life = time.monotonic() - began
        self.expected = outcome(whole)

    def drive(self, kills: int, a_run: int) -> None:
        """Kill so often in all, and let a run end after `a_run` of them."""
        run, of_run = self.folder / "run", 0
        while True:
            enough = self.counts["kills"] >= kills
            killed = self._once(run, None if enough or of_run >= a_run else self._instant())
            if killed is None:
                return
            of_run += killed
            if killed:
                continue
            of_run = 0
            self._compare(run)
            if enough:
                return

    def _instant(self) -> float | None:
        """Seconds from the start; negative for seconds after the next save has begun."""
        if self.random.random() < 0.5:
            return self.random.uniform(0, self.life)
        return -self.random.uniform(0, AIMED_SECONDS)

    def _once(self, run: Path, instant: float | None) -> bool | None:
        """One process of a run. Whether it was killed; None where it failed by itself."""
        began = time.monotonic()
        child = forked(lambda: self._work(run), self.log)
        if instant is not None and not self._wait(child, run, began, instant):
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                self._count_kill(run)
                return True
        else:
            _, status = self.ended if instant is not None else os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return False
        self.faults.append(self.log.read_text("utf-8", "replace")[-2000:])
        return None

    def _wait(self, child: int, run: Path, began: float, instant: float) -> bool:
        """Wait for the instant; whether the process ended before it."""
        aim, threshold = None, self.random.uniform(0, self.life)
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self.ended = pid, status
                return True
            now = time.monotonic()
            if instant >= 0 and now - began >= instant:
                return False
            # Not at the first save that is seen: a run must get on.
            late = now - began > threshold
            if instant < 0 and aim is None and late and self._saves(run):
                aim = now - instant
            if aim is not None and now >= aim:
                return False
            time.sleep(0.0003)

    @staticmethod
    def _saves(run: Path) -> bool:
        """Whether a save is under way."""
        return any((run / "checkpoints").glob(".step-*"))

    def _work(self, run: Path) -> None:
        import kerasft

        if (run / "run.json").exists():
            kerasft.resume(run)
        else:
            shutil.rmtree(run, ignore_errors=True)
            kerasft.train(self.recipe, backend=self.backend, out=run)

    def _train(self, run: Path) -> None:
        _, status = os.waitpid(forked(lambda: self._work(run), self.log), 0)
        if status:
            raise RuntimeError(self.log.read_text("utf-8", "replace"))

    def _count_kill(self, run: Path) -> None:
        self.counts["kills"] += 1
        self.counts["in a save"] += self._saves(run)
        self.counts["before the first checkpoint"] += not any((run / "checkpoints").glob("step-*"))

    def _compare(self, run: Path) -> None:
        self.counts["runs"] += 1
        found = outcome(run)
        different = [key for key, value in self.expected.items() if found[key] != value]
        self.counts["equal runs"] += not different
        if different:
            self.faults.append(f"run {self.counts['runs']}: {', '.join(different)} differ")
        # What is known so far, should the driver itself be ended.
        print(dict(self.counts), file=sys.stderr, flush=True)
        shutil.rmtree(run)


def import_everything(backend: str) -> None:
    """What a training process imports, and no more: a used backend does not survive a fork."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from kerasft import backend as backends

    backends.select(backend)
    import kerasft.engine.callbacks
    import kerasft.engine.decode
    import kerasft.engine.loaded
    import kerasft.engine.saving
    import kerasft.engine.validation
    import kerasft.models.sources
    import kerasft.plots
    import kerasft.trainer
    import kerasft.training  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("torch", "jax"), required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--a-run", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import_everything(options.backend)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(options.backend, Path(folder), options.seed)
        driver.drive(options.kills, options.a_run)
    print(
        json.dumps(
            {
                "backend": options.backend,
                **driver.counts,
                "seconds": round(time.monotonic() - began),
                "seconds_of_a_run_left_alone": round(driver.life, 1),
                "faults": driver.faults,
            }
        )
    )
    return 1 if driver.faults else 0


if __name__ == "__main__":
    sys.exit(main())
