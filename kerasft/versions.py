"""Versions of what takes part in a run, read without importing any of it."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("kerasft", "keras", "keras-hub", "torch", "jax", "numpy", "transformers", "peft")


def versions(also: Sequence[str] = ()) -> dict[str, str]:
    """Name to version: Python, then those of `PACKAGES` and `also` that are installed."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *also):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
