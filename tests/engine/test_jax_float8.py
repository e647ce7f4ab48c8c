"""A frozen base in float8 on JAX: its products, its step, and the base that comes back."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the step of the other backend", allow_module_level=True)

import jax
import jax.numpy as jnp

from kerasft.engine import jax_block, jax_float8, jax_float8_base
from kerasft.engine.jax_float8 import Float8Matrix, float8_matrix, float8_product, obstacle
from tests.engine.rounding import rounded
from tests.engine.tuning import small_model, tuner_on, uneven_examples, windows_of

pytestmark = pytest.mark.keras


def random(rows: int, columns: int, seed: int) -> jax.Array:
    """Bfloat16, the rows and columns of very different sizes."""
    values = np.random.default_rng(seed).standard_normal((rows, columns))
    values *= np.logspace(-3, 3, rows)[:, None] * np.logspace(1, -2, columns)[None]
    return jnp.asarray(values, jnp.bfloat16)


def numbers(x: jax.Array) -> np.ndarray:
    return np.asarray(x.astype(jnp.float32)).astype(np.float64)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("axes", [(1, 0), (0, 1)])
def test_products_and_gradients_are_those_of_rounded_factors(axes) -> None:
    x, matrix, slope = random(40, 64, 0), random(64, 48, 1), random(40, 48, 2)
    in_float8 = float8_matrix(axes, 48, matrix if axes == (1, 0) else matrix.T)
    y, pull = jax.vjp(lambda x: float8_product(None, x, in_float8), x)
    assert y.dtype == jnp.bfloat16
    x, matrix, slope, y, gradient = map(numbers, (x, matrix, slope, y, *pull(slope)))
    for found, left, right in ((y, x, matrix), (gradient, slope, matrix.T)):
        emulated = rounded(left) @ rounded(right.T).T
        # XLA rounds to float8 through float16 on a CPU, which moves a few ties.
        errors = [relative(*rows) for rows in zip(found, emulated, strict=True)]
        roundings = [relative(*rows) for rows in zip(left @ right, emulated, strict=True)]
        assert max(errors) < 0.01 < np.median(roundings)


def test_zeros_stay_and_what_is_no_number_shows() -> None:
    x = jnp.zeros((3, 16), jnp.bfloat16).at[1, 3].set(jnp.inf).at[2, 5].set(jnp.nan)
    y = float8_product(None, x, float8_matrix((1, 0), 32, random(16, 32, 0)))
    assert (y[0] == 0).all() and not jnp.isfinite(y[1:]).any()


def test_sums_are_kept_before_their_scales(capsys: pytest.CaptureFixture) -> None:
    """A block keeps one array for gate and one for up, and each one's scales."""
    gate, up = (float8_matrix((1, 0), 48, random(32, 48, seed)) for seed in (1, 2))

    def feed_forward(x: jax.Array) -> jax.Array:
        hidden = jax.nn.silu(float8_product("gate", x, gate)) * float8_product("up", x, up)
        return float8_product(None, hidden, float8_matrix((1, 0), 32, random(48, 32, 4))).sum()

    names = jax.checkpoint_policies.save_only_these_names(*jax_block.KEPT)
    jax.ad_checkpoint.print_saved_residuals(
        jax.checkpoint(feed_forward, policy=names), random(8, 32, 0)
    )
    kept = [line.split(" from")[0] for line in capsys.readouterr().out.splitlines()]
    named = [line for line in kept if "named" in line]
    assert named == [
        "bf16[8,48] named 'gate'",
        "f32[8,1] named 'scales'",
        "bf16[8,48] named 'up'",
        "f32[8,1] named 'scales'",
    ]


def vector(gradients: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in gradients.values()])


def unrounded(axes: tuple[int, ...], outputs: int, kernel: jax.Array) -> Float8Matrix:
    """The matrix of a kernel as it is, where the step looks for one in float8."""
    nothing = jnp.zeros(())
    matrix = kernel.transpose(axes).reshape(outputs, -1).T
    return Float8Matrix(matrix, nothing, nothing, nothing)


@jax.custom_vjp
def in_numpy(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """x · matrix and its gradient from factors that numpy has rounded."""
    return in_numpy_forward(x, matrix)[0]


def multiplied(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    x, matrix = (np.asarray(each, np.float64) for each in (x, matrix))
    return (rounded(x) @ rounded(matrix.T).T).astype(np.float32)


def called(x: jax.Array, matrix: jax.Array) -> jax.Array:
    shape = jax.ShapeDtypeStruct((x.shape[0], matrix.shape[1]), jnp.float32)
    wide = (x.astype(jnp.float32), matrix.astype(jnp.float32))
    return jax.pure_callback(multiplied, shape, *wide).astype(x.dtype)


def in_numpy_forward(x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    return called(x, matrix), matrix


def in_numpy_backward(matrix: jax.Array, slope: jax.Array) -> tuple[jax.Array, None]:
    return called(slope, matrix.T), None


in_numpy.defvjp(in_numpy_forward, in_numpy_backward)


def test_a_step_multiplies_every_matrix_in_float8(monkeypatch) -> None:
    """Gradients are those of emulated products, rematerialised too, and near bfloat16's."""
    window = windows_of(uneven_examples(12, seed=64), 2, 2, packing=True, sequence_length=64)[0]

    def measured(*, float8: bool = True, remat: bool = False) -> np.ndarray:
        model = small_model("gemma2", dtype="bfloat16", num_layers=1)
        tuner = tuner_on(model, "gemma2", float8=float8, remat=remat)
        return vector(tuner.gradients(window))

    mine, rematerialised, plain = measured(), measured(remat=True), measured(float8=False)
    monkeypatch.setattr(jax_float8_base, "float8_matrix", unrounded)
    monkeypatch.setattr(
        jax_block, "float8_product", lambda kept, x, matrix: in_numpy(x, matrix.forward)
    )
    emulated = measured()
    assert 0.03 < relative(plain, emulated) < 0.6
    for found in (mine, rematerialised):
        assert relative(found, emulated) < relative(plain, emulated) / 2


def test_a_device_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "JAX runs on cpu here" in obstacle()

    def device(capability: str) -> SimpleNamespace:
        client = SimpleNamespace(platform_version="PJRT C API\ncuda 13000")
        return SimpleNamespace(
            client=client,
            platform="gpu",
            device_kind="NVIDIA L4",
            compute_capability=capability,
        )

    monkeypatch.setattr(jax_float8.jax, "devices", lambda: [device("8.9")])
    assert "9.0 or above (Hopper and later), and the NVIDIA L4 has 8.9" in obstacle()
    monkeypatch.setattr(jax_float8.jax, "devices", lambda: [device("9.0")])
    assert obstacle() is None
