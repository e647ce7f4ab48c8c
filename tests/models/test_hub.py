"""Importing KerasHub costs no TensorFlow, and leaves no trace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.keras


def test_tensorflow_is_hidden_for_the_import_only():
    program = (
        "import sys\n"
        "from kerasft.models.hub import keras_hub\n"
        "assert keras_hub() is keras_hub()\n"
        "print('tensorflow' in sys.modules, 'tensorflow_text' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_names_are_looked_up_where_no_backend_was_chosen():
    program = (
        "from kerasft.errors import ModelError\n"
        "from kerasft.models.sources import load_tokenizer\n"
        "try:\n    load_tokenizer('no-such-preset')\nexcept ModelError as error:\n    print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"KERAS_HOME": os.devnull},
    )
    assert "is no preset of a supported family" in done.stdout


def test_kernels_start_from_zero_inside_only():
    import keras

    from kerasft.models.hub import zero_kernels

    def drawn() -> float:
        layer = keras.layers.Dense(3, kernel_initializer="glorot_uniform")
        layer.build((None, 4))
        return float(abs(keras.ops.convert_to_numpy(layer.kernel)).max())

    with pytest.raises(RuntimeError), zero_kernels():
        assert drawn() == 0
        raise RuntimeError("must not leave the initializers patched")
    assert drawn() > 0
