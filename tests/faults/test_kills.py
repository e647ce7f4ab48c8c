"""A run that is killed at any instant ends as the one that was left alone, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks"),
]


def drive(backend: str, kills: int) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.driver", "--backend", backend, "--kills", str(kills)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    return found


def test_a_few_kills(backend):
    kills = {"torch": 10, "jax": 2}[backend]  # a JAX process takes twice as long to begin
    found = drive(backend, kills)
    assert found["kills"] >= kills
    assert found["runs"] == found["equal runs"] >= 1


@pytest.mark.slow
def test_two_hundred_kills(backend):
    found = drive(backend, 200)
    assert found["kills"] >= 200
    assert found["runs"] == found["equal runs"] >= 10
    assert found["in a save"] >= 20
