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


@pytest.mark.parametrize("remat", [False, True])
def test_twenty_steps_in_float8_fall_as_in_bfloat16(jax, remat) -> None:
    """As XLA gives the products to cuBLASLt, over a Gemma that its matrices dominate."""
    from kerasft.engine.jax_float8 import obstacle
    from kerasft.recipe import TrainSettings
    from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, windows_of

    if (why := obstacle()) is not None:
        pytest.skip(why)
    windows = windows_of(uneven_examples(300), 8, 1, packing=True, sequence_length=256)
    windows = [windows[step % 2] for step in range(20)]
    losses = []
    for quantization in ("none", "float8", "float8-backward"):
        model = small_model("gemma", dtype="bfloat16", hidden_dim=256, intermediate_dim=8192)
        tuner = tuner_on(model, "gemma", moved=False, quantization=quantization, remat=remat)
        tuner.prepare(TrainSettings(learning_rate=1e-2, schedule="constant"), total_steps=20)
        losses.append(np.array([line["loss"] for line in fit(tuner, windows)]))
        assert tuner.rounded == (quantization != "none")
    plain, *rounded = losses
    fall = plain[0] - plain[-1]
    assert fall > 0.3
    for mine in rounded:
        assert np.abs(mine - plain).max() < 0.02 * fall
        assert not np.array_equal(mine, plain)
