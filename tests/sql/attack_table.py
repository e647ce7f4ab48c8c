"""Runs every attack and writes docs/sandbox.md's tables: `python -m tests.sql.attack_table`."""

import argparse
import tempfile
from pathlib import Path

from kerasft.sql.sandbox import Sandbox
from tests.sql.attacks import Attack, Measured, make_outside, run_attack
from tests.sql.attacks_duckdb import ATTACKS as DUCKDB_ATTACKS
from tests.sql.attacks_sqlite import ATTACKS as SQLITE_ATTACKS

SQL_CHARACTERS = 72


def row(attack: Attack, measured: Measured) -> str:
    sql = " ".join(attack.sql.split()).replace("|", "\\|")
    short = sql if len(sql) <= SQL_CHARACTERS else sql[: SQL_CHARACTERS - 1] + "…"
    return (
        f"| {attack.aim} | {attack.way} | `{short}` | {measured.outcome.status} | "
        f"{measured.seconds:.2f} | {measured.peak_bytes / 1e6:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="deadline of each attack")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        outside = make_outside(Path(folder) / "outside")
        for engine, attacks in [("sqlite", SQLITE_ATTACKS), ("duckdb", DUCKDB_ATTACKS)]:
            print(f"\n### {engine}\n\n| aim | as | SQL | outcome | seconds | peak MB |")
            print("| --- | --- | --- | --- | --- | --- |")
            with Sandbox(engine) as sandbox:
                for attack in attacks:
                    print(row(attack, run_attack(sandbox, attack, outside, seconds)), flush=True)


if __name__ == "__main__":
    main()
