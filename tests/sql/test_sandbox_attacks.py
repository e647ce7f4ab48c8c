"""No attack reads or changes anything outside, outlives its deadline, or harms the next query."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerasft.sql.engine import Engine
from kerasft.sql.sandbox import Sandbox
from tests.sql.attacks import CANARY, CONTEXT, ROWS, Attack, contents, make_outside, run_attack
from tests.sql.attacks_duckdb import ATTACKS as DUCKDB_ATTACKS
from tests.sql.attacks_duckdb import SEQUENCE
from tests.sql.attacks_sqlite import ATTACKS as SQLITE_ATTACKS

# A fresh DuckDB takes 20 ms, and many times that on a busy machine; SQLite takes none.
SECONDS: dict[Engine, float] = {"sqlite": 0.15, "duckdb": 0.3}
PATIENT_SECONDS = 20.0  # for what ends at once, also on a busy machine
LATE_SECONDS = 1.0
# Resident memory: far under the limits of the address space (1 and 2 GiB).
LIMITS: dict[Engine, int] = {"sqlite": 512 << 20, "duckdb": 1 << 30}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[Engine, Sandbox]]:
    held: dict[Engine, Sandbox] = {}
    yield held
    for sandbox in held.values():
        sandbox.close()


def listed(attacks: list[Attack]) -> list:
    """The attacks as parameters of a test."""
    return [
        pytest.param(one, id=one.aim, marks=[pytest.mark.slow] if one.variant else [])
        for one in attacks
    ]


def check(attack: Attack, sandboxes: dict[Engine, Sandbox], outside: Path) -> None:
    sandbox = sandboxes.setdefault(attack.engine, Sandbox(attack.engine))
    before = contents(outside)
    deadline = SECONDS[attack.engine]
    seconds = deadline if attack.bomb else PATIENT_SECONDS
    measured = run_attack(sandbox, attack, outside, seconds)
    outcome = measured.outcome
    assert outcome.status in attack.statuses, outcome
    assert outcome.message or outcome.status == "ok"
    if attack.bomb:
        assert outcome.seconds < deadline + LATE_SECONDS
        assert measured.seconds < 2 * deadline + LATE_SECONDS  # with the building of its context
    assert measured.peak_bytes < LIMITS[attack.engine]
    assert CANARY not in repr(outcome)
    assert contents(outside) == before
    assert os.listdir(sandbox._folder.name) == []
    next_one = sandbox.run("SELECT id, name, age FROM singer ORDER BY id", context=CONTEXT)
    assert next_one.rows == ROWS, next_one


@pytest.mark.parametrize("attack", listed(SQLITE_ATTACKS))
def test_sqlite(attack: Attack, sandboxes: dict[Engine, Sandbox], outside: Path) -> None:
    check(attack, sandboxes, outside)


@pytest.mark.parametrize("attack", listed(DUCKDB_ATTACKS))
def test_duckdb(attack: Attack, sandboxes: dict[Engine, Sandbox], outside: Path) -> None:
    pytest.importorskip("duckdb")
    check(attack, sandboxes, outside)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_what_is_refused_on_a_context_is_refused_on_a_file(
    engine: Engine, sandboxes: dict[Engine, Sandbox], outside: Path, tmp_path: Path
) -> None:
    module = pytest.importorskip("sqlite3" if engine == "sqlite" else "duckdb")
    attacks = SQLITE_ATTACKS if engine == "sqlite" else DUCKDB_ATTACKS
    file = tmp_path / "singers.db"
    connection = module.connect(str(file))
    for statement in (CONTEXT + (SEQUENCE if engine == "duckdb" else "")).split(";\n"):
        connection.execute(statement)
    connection.commit()
    connection.close()
    before = contents(outside), contents(tmp_path)
    sandbox = sandboxes.setdefault(engine, Sandbox(engine))
    for attack in attacks:
        if attack.bomb or attack.way != "query" or attack.before not in ("", SEQUENCE):
            continue
        sql = attack.sql.replace("OUTSIDE", str(outside))
        outcome = sandbox.run(sql, database=file, seconds=PATIENT_SECONDS)
        assert outcome.status in attack.statuses, (attack.aim, outcome)
        assert CANARY not in repr(outcome)
    assert (contents(outside), contents(tmp_path)) == before
    query = "SELECT id, name, age FROM singer ORDER BY id"
    assert sandbox.run(query, database=file).rows == ROWS
