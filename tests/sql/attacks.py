"""Attacks on the sandbox as data, and how one is run and measured.

`OUTSIDE` in an attack's SQL stands for a folder with a file `canary.txt`, a CSV file, and an
SQLite and a DuckDB database, which no attack may read or change.
"""

import contextlib
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kerasft.sql.engine import Engine
from kerasft.sql.sandbox import Outcome, Sandbox

CANARY = "canary-7f3a"
CONTEXT = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INT);
CREATE INDEX by_name ON singer (name);
INSERT INTO singer VALUES (1, 'Ann', 30), (2, 'Bo', 25), (3, 'Cy', NULL);
"""
ROWS = ((1, "Ann", 30), (2, "Bo", 25), (3, "Cy", None))
SAMPLE_SECONDS = 0.005

Way = Literal["query", "plan", "script", "context"]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        aim: what it tries, in a few words.
        statuses: how it may end.
        way: as a query, as a query whose plan is asked for, as a script that may write, or as
            the context of a harmless query.
        before: added to the context in which it runs.
        bomb: it aims at time or memory, so that it may run into the deadline.
        variant: much like another of the list; tested with `--slow`.
    """

    engine: Engine
    aim: str
    sql: str
    statuses: frozenset[str]
    way: Way = "query"
    before: str = ""
    bomb: bool = False
    variant: bool = False


@dataclass(frozen=True)
class Measured:
    """An attack's end; `seconds` of wall time, and the worker's peak resident memory."""

    outcome: Outcome
    seconds: float
    peak_bytes: int


def make_outside(folder: Path) -> Path:
    """Fill a folder with what attacks aim at."""
    folder.mkdir(exist_ok=True)
    (folder / "canary.txt").write_text(CANARY)
    (folder / "data.csv").write_text(f"id,name\n1,{CANARY}\n")
    connection = sqlite3.connect(folder / "other.db")
    connection.execute("CREATE TABLE secret (name)")
    connection.execute("INSERT INTO secret VALUES (?)", (CANARY,))
    connection.commit()
    connection.close()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run_attack(sandbox: Sandbox, attack: Attack, outside: Path, seconds: float) -> Measured:
    """Run one attack and watch the worker's memory, where the system tells it."""
    sql = attack.sql.replace("OUTSIDE", str(outside))
    context, query, options = CONTEXT + attack.before, sql, {}
    if attack.way == "context":
        context, query = sql, "SELECT 1"
    elif attack.way == "script":
        options = {"writes": True}
    elif attack.way == "plan":
        options = {"explain": True}
    # A worker that an earlier attack killed is there again.
    with _Peak(sandbox._worker().pid) as peak:
        began = time.monotonic()
        outcome = sandbox.run(query, context=context, seconds=seconds, **options)
        elapsed = time.monotonic() - began
    return Measured(outcome, elapsed, peak.bytes)


class _Peak:
    """The largest resident memory of a process between enter and exit; 0 without /proc."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._reset = Path(f"/proc/{pid}/clear_refs")
        self._done = threading.Event()
        self.bytes = 0

    def __enter__(self) -> "_Peak":
        with contextlib.suppress(OSError):
            self._reset.write_text("5")  # start the high-water mark afresh (proc(5))
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            lines = self._status.read_text().splitlines()
        except OSError:  # the worker was killed, or there is no /proc
            return
        for line in lines:
            if line.startswith("VmHWM:"):
                self.bytes = max(self.bytes, int(line.split()[1]) << 10)
