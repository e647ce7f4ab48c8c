"""`import kerasft` in a notebook or a script."""

import inspect
import os
import subprocess
import sys

import pytest

import kerasft

HEAVY = ("keras", "torch", "jax", "tensorflow", "transformers", "datasets", "matplotlib", "sqlglot")


def python(code: str, **settings: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KERAS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_brings_nothing_heavy():
    code = f"import sys, kerasft; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code) == "[]"


def test_the_functions_are_there_before_any_backend():
    code = (
        f"import sys, kerasft; [getattr(kerasft, name) for name in kerasft.__all__]; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_every_public_name_is_there_and_no_other():
    for name in kerasft.__all__:
        assert getattr(kerasft, name) is not None
        assert name in dir(kerasft)
    with pytest.raises(AttributeError, match="no attribute 'finetune'"):
        _ = kerasft.finetune


@pytest.mark.keras
def test_train_stays_a_function_after_use(tiny_run):
    """A submodule of the same name would take the function's place at its import."""
    assert tiny_run.result.status == "finished"
    for name in ("train", "resume", "evaluate", "load", "export_run"):
        assert inspect.isfunction(getattr(kerasft, name)), name


@pytest.mark.keras
def test_keras_with_another_backend_is_a_clear_error(tmp_path, backend):
    other = "jax" if backend == "torch" else "torch"
    code = f"""
import keras, kerasft
try:
    kerasft.train("sql", backend={other!r}, out={str(tmp_path / "run")!r})
except kerasft.KerasftError as error:
    print(error)
"""
    message = python(code, KERAS_BACKEND=backend).splitlines()[-1]
    assert f"already imported with the {backend} backend, and {other} was asked for" in message
    assert not (tmp_path / "run").exists()
