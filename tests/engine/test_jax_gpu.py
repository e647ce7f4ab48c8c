"""On a GPU: JAX's attention by cuDNN sees what the written-out one sees."""

import numpy as np
import pytest

pytestmark = [pytest.mark.keras, pytest.mark.gpu]

LENGTH, WIDTH = 512, 256


@pytest.fixture(scope="module")
def jax(backend: str):
    if backend != "jax":
        pytest.skip("torch's attention has tests of its own")
    import jax

    return jax


def packed(rows: int) -> np.ndarray:
    """int32 (rows, LENGTH): segments of several lengths, one longer than a window, padding last."""
    lengths = (300, 5, 64, 100, 20)
    row = np.concatenate([np.full(n, index) for index, n in enumerate(lengths, 1)])
    return np.tile(np.pad(row, (0, LENGTH - len(row))), (rows, 1)).astype(np.int32)


@pytest.mark.parametrize("segmented", [True, False])
@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize(("heads", "key_value_heads"), [(4, 1), (8, 4), (2, 2)])
def test_cudnn_sees_what_written_out_attention_sees(
    jax, segmented, window, heads, key_value_heads
) -> None:
    """Both in bfloat16 against float32; values and gradients of all three inputs."""
    import jax.numpy as jnp

    from kerasft.engine import jax_attention

    if not jax_attention.uses_cudnn(WIDTH, "bfloat16"):
        pytest.skip("cuDNN's attention does not run here")
    random = np.random.default_rng(0)
    shapes = [(2, LENGTH, heads, WIDTH), *[(2, LENGTH, key_value_heads, WIDTH)] * 2]
    given = [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes]
    slope = jnp.asarray(random.standard_normal(shapes[0]), jnp.float32)
    segments = jnp.asarray(packed(2)) if segmented else None

    def found(attend, dtype, *options):
        def total(*inputs):
            values = attend(*inputs, segments, WIDTH**-0.5, *options, window)
            return (values.astype(jnp.float32) * slope).sum(), values

        inputs = [each.astype(jnp.bfloat16).astype(dtype) for each in given]
        (_, values), gradients = jax.jit(
            jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
        )(*inputs)
        return [np.asarray(each.astype(jnp.float32)) for each in (values, *gradients)]

    with jax.default_matmul_precision("highest"):
        exact = found(jax_attention._plain, jnp.float32, None)
    written_out = found(jax_attention._plain, jnp.bfloat16, None)
    cudnn = found(jax_attention._cudnn, jnp.bfloat16)
    for ours, plain, wanted in zip(cudnn, written_out, exact, strict=True):
        error = np.linalg.norm(ours - wanted) / np.linalg.norm(wanted)
        rounding = np.linalg.norm(plain - wanted) / np.linalg.norm(wanted)
        assert error < 2 * rounding < 0.05
