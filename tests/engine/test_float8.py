"""A run beside rounded matrices: what it computes with, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerasft import training
from kerasft.engine import keras_learner, quantization
from kerasft.engine.loaded import load_run
from kerasft.errors import ModelError, RunError
from tests.engine.tuning import small_model, tuner_on
from tests.small import say_rows, small_recipe, write_rows

pytestmark = pytest.mark.keras


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every quantisation on any CPU, where it may be slow but is right."""
    for module in (quantization, keras_learner):
        monkeypatch.setattr(module, "check_device", lambda *_: None)


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("quantization", ["float8", "float8-backward", "int8-backward"])
def test_a_run_beside_rounded_matrices_ends_with_the_base_as_it_was(
    tmp_path: Path, backend: str, quantization: str
) -> None:
    """Held-out rows are answered by the base itself; another setting cannot go on."""
    if quantization == "int8-backward" and backend == "jax":
        pytest.skip("for torch alone")
    rows = write_rows(tmp_path / "rows.jsonl", say_rows(10))
    settings = {
        "model__dtype": "bfloat16",
        "model__quantization": quantization,
        "data__validation": 2,
        "train__max_steps": 3,
        "train__checkpoint_every": 2,
    }
    kernels: list[np.ndarray] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            assert self.model.rounded

        def on_train_end(self, logs: object = None) -> None:
            assert not self.model.rounded
            kernels.extend(kernel_values(self.model.backbone))

    def kernel_values(backbone: keras.Model) -> list[np.ndarray]:
        values = [v.value for v in backbone.variables if v.path.endswith("kernel")]
        return [keras.ops.convert_to_numpy(keras.ops.cast(v, "float32")) for v in values]

    recipe = small_recipe(rows, **settings)
    result = training.train(recipe, out=tmp_path / "run", backend=backend, callbacks=[Watch()])
    assert result.status == "finished" and result.record["quantization"] == quantization
    assert all("after" in sample for sample in result.record["samples"])
    loaded = kernel_values(load_run(tmp_path / "run").causal_lm.backbone)
    assert len(kernels) == len(loaded) > 0
    for mine, expected in zip(kernels, loaded, strict=True):
        np.testing.assert_array_equal(mine, expected)
    with pytest.raises(RunError, match=rf"model.quantization was '{quantization}', it is 'none'"):
        changed = {"model.quantization": "none", "train.max_steps": 4}
        training.resume(tmp_path / "run", settings=changed)


def test_matrices_that_float8_does_not_take_are_refused() -> None:
    with pytest.raises(ModelError, match=r"multiples of 16.*gate is 32 × 40 in bfloat16"):
        model = small_model("gemma", dtype="bfloat16", intermediate_dim=80)
        tuner_on(model, "gemma", quantization="float8")
    with pytest.raises(ModelError, match=r"in float32"):
        tuner_on(small_model("gemma"), "gemma", quantization="float8")
