"""Choosing the backend before Keras is imported, which is when Keras reads it."""

import os
import sys
from typing import Literal

from kerasft.caches import cache_dir
from kerasft.errors import KerasftError

Backend = Literal["torch", "jax"]
BACKENDS: tuple[Backend, ...] = ("torch", "jax")
DEFAULT: Backend = "torch"


def select(backend: str) -> None:
    """Make `backend` the one that Keras uses in this process.

    Call it before anything imports Keras; calling it again with the same backend
    changes nothing. It also sets, where the user has not:

    - `XLA_PYTHON_CLIENT_PREALLOCATE=false`, so that JAX leaves the rest of the card
      to others and its peak memory can be read;
    - `XLA_CLIENT_MEM_FRACTION=0.9`, up to which JAX may fill the card as it needs it: by
      itself it stops at three quarters. Not where its older name
      `XLA_PYTHON_CLIENT_MEM_FRACTION` is set, beside which JAX refuses it, nor with
      preallocation, which would take it all at once;
    - `JAX_COMPILATION_CACHE_DIR`, so that a step compiled once is not compiled
      again by the next command, and `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1`, so
      that this holds for the many small functions around it too;
    - `TORCHINDUCTOR_CACHE_DIR`, for what torch compiles;
    - `TF_CPP_MIN_LOG_LEVEL=3`, which silences notes of XLA's C++ side;
    - `OMP_WAIT_POLICY=passive`, so that torch's threads do not spin while they wait for
      one that another program has pushed off its core: on two cores shared with one
      busy process a step of the 270M took 4.5 s instead of 25.

    Raises:
        KerasftError: the backend is unknown, or Keras is already imported with
            another one, which cannot be changed within a process.
    """
    if backend not in BACKENDS:
        raise KerasftError(f"backend {backend!r} is not known; expected torch or jax")
    active = _active()
    if active not in (None, backend):
        raise KerasftError(
            f"Keras is already imported with the {active} backend, and {backend} was asked for. "
            f"A process has one backend: start a new one (restart the notebook's kernel) and call "
            f"kerasft before importing keras, or set KERAS_BACKEND={backend} first."
        )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if backend == "jax":
        allocated = os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if allocated == "false" and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
            os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", "0.9")
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir() / "jax"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    else:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torch"))


def selected() -> str:
    """The backend of this process: Keras' own where it is imported, else what `select` chose."""
    return _active() or os.environ.get("KERAS_BACKEND", DEFAULT)


def _active() -> str | None:
    keras = sys.modules.get("keras")
    # A module that is still being imported, or a stand-in, has no backend to ask.
    config = getattr(keras, "config", None)
    return config.backend() if config is not None else None
