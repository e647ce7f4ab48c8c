"""Fine-tune Gemma and its KerasHub siblings with Keras 3, on torch or on JAX.

    import kerasft

    result = kerasft.train("sql", backend="torch", **{"train.max_steps": 200})
    model = kerasft.load(result.run.path)
    print(model.generate("How many customers are there?", context="CREATE TABLE …"))

Importing this package imports neither Keras nor a backend; `train`, `load`, `evaluate`
and `ask` choose the backend and import them.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("kerasft")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0+unknown"

_PUBLIC = {
    "ask": "kerasft.asking",
    "compare_runs": "kerasft.compare.comparison",
    "evaluate": "kerasft.evaluation",
    "export_run": "kerasft.export",
    "load": "kerasft.loading",
    "push_folder": "kerasft.export",
    "report_run": "kerasft.report.writing",
    "resume": "kerasft.training",
    "train": "kerasft.training",
    "verify_run": "kerasft.export",
    "KerasftError": "kerasft.errors",
    "Recipe": "kerasft.recipe",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kerasft' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
