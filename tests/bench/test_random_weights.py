"""Random weights of a shape: every kernel, in place, and no norm."""

import numpy as np
import pytest

from kerasft.bench.shapes import TINY

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    import keras

    from kerasft.bench.random_weights import random_causal_lm

    causal_lm = random_causal_lm(TINY.table, TINY.config, "float32", seed=3)
    return {
        spec.name: keras.ops.convert_to_numpy(spec.variable(causal_lm.backbone))
        for spec in TINY.table.tensors(TINY.config)
    }


def test_kernels_and_embeddings_are_normal(tensors: dict[str, np.ndarray]) -> None:
    for name, values in tensors.items():
        if values.ndim > 1:
            assert values.std() == pytest.approx(0.02, rel=0.15), name
            assert abs(values.mean()) < 0.005, name


def test_layers_differ(tensors: dict[str, np.ndarray]) -> None:
    first, second = (tensors[f"decoder_block_{i}/ffw/gate/kernel"] for i in (0, 1))
    assert not np.allclose(first, second)


def test_norms_are_as_they_are_built(tensors: dict[str, np.ndarray]) -> None:
    scales = [values for values in tensors.values() if values.ndim == 1]
    assert scales and all((values == 0).all() for values in scales)
