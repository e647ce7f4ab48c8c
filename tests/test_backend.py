"""The backend is fixed before Keras is imported, in processes of their own."""

import os
import subprocess
import sys

import pytest

from kerasft import backend
from kerasft.errors import KerasftError


def python(code: str, **settings: str) -> str:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("KERAS", "JAX_", "XLA_", "TF_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_unknown_backend_is_refused():
    with pytest.raises(KerasftError, match="'tensorflow' is not known; expected torch or jax"):
        backend.select("tensorflow")


@pytest.mark.parametrize("name", backend.BACKENDS)
def test_selecting_sets_what_keras_reads_and_imports_nothing(name):
    code = (
        "import os, sys; from kerasft import backend; "
        f"backend.select({name!r}); backend.select({name!r}); "
        "print(os.environ['KERAS_BACKEND'], [m for m in ('keras', 'torch', 'jax') "
        "if m in sys.modules])"
    )
    assert python(code, KERAS_BACKEND="tensorflow") == f"{name} []"


def test_jax_settings_of_the_user_stay(tmp_path):
    code = (
        "import os; from kerasft import backend; backend.select('jax'); "
        "print(os.environ['JAX_COMPILATION_CACHE_DIR'], "
        "os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'], "
        "os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'], "
        "os.environ.get('XLA_CLIENT_MEM_FRACTION'))"
    )
    cache = str(tmp_path)
    assert python(code, KERASFT_CACHE=cache) == f"{tmp_path / 'jax'} 0.1 false 0.9"
    kept = {
        "JAX_COMPILATION_CACHE_DIR": "/mine",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "2",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "true",
    }
    assert python(code, KERASFT_CACHE=cache, **kept) == "/mine 2 true None"
    # JAX refuses both names of the share beside each other.
    older = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}
    assert python(code, KERASFT_CACHE=cache, **older).endswith(" false None")


@pytest.mark.keras
def test_another_backend_after_keras_is_refused_with_the_way_out():
    other = "jax" if os.environ["KERAS_BACKEND"] == "torch" else "torch"
    import keras

    backend.select(keras.backend.backend())
    with pytest.raises(KerasftError, match=f"set KERAS_BACKEND={other} first"):
        backend.select(other)
    assert os.environ["KERAS_BACKEND"] == keras.backend.backend()
