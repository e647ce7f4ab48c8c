"""The one place that imports KerasHub."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_HIDDEN = ("tensorflow", "tensorflow_text")


def keras_hub() -> ModuleType:
    """KerasHub, imported without TensorFlow.

    KerasHub imports TensorFlow if it can, for tf.data pipelines that are not used
    here. A None in `sys.modules` makes that import fail, which KerasHub allows for;
    it saves more than half of the import's time and memory. What was imported
    before stays as it was, and TensorFlow can be imported afterwards.
    """
    if "keras_hub" in sys.modules:
        return sys.modules["keras_hub"]
    hidden = [name for name in _HIDDEN if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("keras_hub")
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)
