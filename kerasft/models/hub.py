"""The one place that imports KerasHub and that steps around what it does by default."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from kerasft.backend import DEFAULT

_HIDDEN = ("tensorflow", "tensorflow_text")


def keras_hub() -> ModuleType:
    """KerasHub, imported without TensorFlow.

    KerasHub imports TensorFlow if it can, for tf.data pipelines that are not used
    here. A None in `sys.modules` makes that import fail, which KerasHub allows for;
    it saves more than half of the import's time and memory. What was imported
    before stays as it was, and TensorFlow can be imported afterwards.

    Where nobody has chosen a backend, as in a process that only looks up names, it is kerasft's
    default: Keras' own is TensorFlow.
    """
    if "keras_hub" in sys.modules:
        return sys.modules["keras_hub"]
    os.environ.setdefault("KERAS_BACKEND", DEFAULT)
    hidden = [name for name in _HIDDEN if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("keras_hub")
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


@contextmanager
def zero_kernels() -> Iterator[None]:
    """Layers built inside start from zeros where Keras would draw random values.

    A random draw of an embedding of a quarter million words takes seconds and, on
    JAX, several float32 copies; it would be overwritten at once.
    """
    import keras

    def zeros(self: Any, shape: tuple[int, ...], dtype: Any = None, **unused: Any) -> Any:
        return keras.ops.zeros(shape, dtype=dtype)

    drawing = (keras.initializers.VarianceScaling, keras.initializers.RandomNormal)
    originals = [initializer.__call__ for initializer in drawing]
    for initializer in drawing:
        initializer.__call__ = zeros
    try:
        yield
    finally:
        for initializer, original in zip(drawing, originals, strict=True):
            initializer.__call__ = original
