"""Runs every attack, measures what the wall costs, and writes docs/sandbox.md's tables.

python -m tests.sql.attack_table
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from kerasft.sql.engine import Engine
from kerasft.sql.sandbox import Sandbox
from tests.sql.attacks import CONTEXT, Attack, Measured, make_outside, run_attack
from tests.sql.attacks_duckdb import ATTACKS as DUCKDB_ATTACKS
from tests.sql.attacks_sqlite import ATTACKS as SQLITE_ATTACKS

SQL_CHARACTERS = 64
STARTS, QUERIES = 9, 200
ATTACKS: dict[Engine, list[Attack]] = {"sqlite": SQLITE_ATTACKS, "duckdb": DUCKDB_ATTACKS}


def row(attack: Attack, measured: Measured) -> str:
    sql = " ".join(attack.sql.split()).replace("|", "\\|")
    short = sql if len(sql) <= SQL_CHARACTERS else sql[: SQL_CHARACTERS - 1] + "…"
    return (
        f"| {attack.aim} | {attack.way} | `{short}` | {measured.outcome.status} | "
        f"{measured.seconds:.2f} | {measured.peak_bytes / 1e6:.0f} |"
    )


def summary(engine: Engine, measured: list[Measured], seconds: float) -> str:
    ends = Counter(one.outcome.status for one in measured)
    listed = ", ".join(f"{count} {status}" for status, count in ends.most_common())
    late = max(one.seconds for one in measured) - seconds
    peak = max(one.peak_bytes for one in measured)
    return (
        f"| {engine} | {len(measured)} | {listed} | {late:.2f} s after a deadline of {seconds} s | "
        f"{peak / 1e6:.0f} MB |"
    )


def milliseconds(do, times: int) -> str:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(taken):.1f} ms ({min(taken):.1f}–{max(taken):.1f})"


def cost(engine: Engine, folder: Path) -> str:
    """Medians with least and most: a start, a warm query on a context, and on a file."""
    file = folder / f"{engine}.db"
    if engine == "sqlite":
        import sqlite3 as module
    else:
        import duckdb as module
    connection = module.connect(str(file))
    for statement in CONTEXT.strip().split(";\n"):
        connection.execute(statement)
    connection.commit()
    connection.close()
    query = "SELECT name, age FROM singer WHERE age > 20 ORDER BY age"

    def start() -> None:
        with Sandbox(engine):
            pass

    starts = milliseconds(start, STARTS)
    with Sandbox(engine) as sandbox:
        sandbox.run(query, context=CONTEXT)
        on_context = milliseconds(lambda: sandbox.run(query, context=CONTEXT), QUERIES)
        on_file = milliseconds(lambda: sandbox.run(query, database=file), QUERIES)
    return f"| {engine} | {starts} | {on_context} | {on_file} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs every attack on the sandbox.")
    parser.add_argument("--seconds", type=float, default=2.0, help="deadline of each attack")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| engine | start and end of a worker | query on a context | query on a file |")
        print("| --- | --- | --- | --- |")
        for engine in ATTACKS:
            print(cost(engine, folder), flush=True)
        outside, summaries = make_outside(folder / "outside"), []
        for engine, attacks in ATTACKS.items():
            print(f"\n### {engine}\n\n| aim | as | SQL | outcome | seconds | peak MB |")
            print("| --- | --- | --- | --- | --- | --- |")
            measured = []
            with Sandbox(engine) as sandbox:
                for attack in attacks:
                    measured.append(run_attack(sandbox, attack, outside, seconds))
                    print(row(attack, measured[-1]), flush=True)
            summaries.append(summary(engine, measured, seconds))
    print("\n| engine | attacks | how they ended | latest end | largest peak |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(summaries))


if __name__ == "__main__":
    main()
