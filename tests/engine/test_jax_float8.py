"""A frozen base in float8 on JAX: its products, its step, and the base that comes back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the step of the other backend", allow_module_level=True)

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from kerasft.engine import jax_block, jax_float8, jax_float8_base
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.jax_float8 import (
    Float8Matrix,
    backward_copy,
    float8_matrix,
    float8_product,
    gated,
    gated_kept_in_float8,
    obstacle,
    with_float8_gradient,
)
from kerasft.errors import ModelError
from tests.engine.rounding import e5m2, rounded
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


@pytest.mark.parametrize("axes", [(1, 0), (0, 1)])
def test_a_product_forward_as_it_is_has_a_gradient_of_rounded_factors(axes) -> None:
    x, matrix, slope = random(40, 64, 0), random(64, 48, 1), random(40, 48, 2)
    copy = backward_copy(axes, 48, matrix if axes == (1, 0) else matrix.T)
    y, pull = jax.vjp(lambda x: with_float8_gradient(x, slope, *copy), x)
    np.testing.assert_array_equal(numbers(y), numbers(slope))
    (gradient,) = map(numbers, pull(slope))
    emulated = rounded(numbers(slope)) @ rounded(numbers(matrix)).T
    errors = [relative(*rows) for rows in zip(gradient, emulated, strict=True)]
    assert max(errors) < 0.01


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_the_gate_is_exact_and_its_gradient_of_what_is_kept(activation) -> None:
    gate, up, slope = (random(20, 32, seed) for seed in range(3))
    y, pull = jax.vjp(lambda *given: gated_kept_in_float8(activation, *given), gate, up)
    np.testing.assert_array_equal(numbers(y), numbers(gated(activation, gate, up)))
    # XLA rounds to float8 through float16 on a CPU, which moves a few ties.
    kept = [jnp.asarray(e5m2(numbers(each)), jnp.float32) for each in (gate, up)]
    expected = jax.vjp(lambda *given: gated(activation, *given), *kept)[1](
        slope.astype(jnp.float32)
    )
    exact = jax.vjp(lambda *given: gated(activation, *given), gate, up)[1](slope)
    for mine, wanted, whole in zip(pull(slope), expected, exact, strict=True):
        rounding = relative(numbers(whole), numbers(wanted))
        assert relative(numbers(mine), numbers(wanted)) < rounding / 4
        assert 0.01 < rounding < 0.2


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

    assert kept_values(feed_forward, capsys) == [
        "bf16[8,48] named 'gate'",
        "f32[8,1] named 'scales'",
        "bf16[8,48] named 'up'",
        "f32[8,1] named 'scales'",
    ]


def kept_values(function: Callable, capsys: pytest.CaptureFixture) -> list[str]:
    """The named values that a block of one function of x (8, 32) keeps."""
    names = jax.checkpoint_policies.save_only_these_names(*jax_block.KEPT)
    made = jax.checkpoint(function, policy=names)
    jax.ad_checkpoint.print_saved_residuals(made, random(8, 32, 0))
    lines = [line.split(" from")[0] for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "named" in line]


def test_gate_and_up_are_kept_in_float8(capsys: pytest.CaptureFixture) -> None:
    """As a block names them, and not in bfloat16 too."""
    kernels = [random(32, 48, seed) for seed in (1, 2)]

    def feed_forward(x: jax.Array) -> jax.Array:
        gate, up = (
            checkpoint_name(
                with_float8_gradient(
                    x, jax.lax.stop_gradient(x) @ kernel, *backward_copy((1, 0), 48, kernel)
                ),
                name,
            )
            for kernel, name in zip(kernels, ("gate", "up"), strict=True)
        )
        return gated_kept_in_float8("gelu", gate, up).sum()

    assert kept_values(feed_forward, capsys) == [
        "f8_e5m2[8,48] named 'gate'",
        "f8_e5m2[8,48] named 'up'",
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

    def measured(*, quantization: str = "float8", remat: bool = False) -> np.ndarray:
        model = small_model("gemma2", dtype="bfloat16", num_layers=1)
        tuner = tuner_on(model, "gemma2", quantization=quantization, remat=remat)
        return vector(tuner.gradients(window))

    mine, rematerialised, plain = measured(), measured(remat=True), measured(quantization="none")
    monkeypatch.setattr(jax_float8_base, "float8_matrix", unrounded)
    monkeypatch.setattr(
        jax_block, "float8_product", lambda kept, x, matrix: in_numpy(x, matrix.forward)
    )
    emulated = measured()
    assert 0.03 < relative(plain, emulated) < 0.6
    for found in (mine, rematerialised):
        assert relative(found, emulated) < relative(plain, emulated) / 2


def test_a_step_with_gradients_in_float8_has_the_forward_pass_of_bfloat16(monkeypatch) -> None:
    """Hidden states are equal, and gradients are those of emulated products and gates."""
    window = windows_of(uneven_examples(12, seed=64), 2, 2, packing=True, sequence_length=64)[0]

    def tuner_of(quantization: str, remat: bool = False) -> FineTuner:
        model = small_model("gemma", dtype="bfloat16", num_layers=1)
        return tuner_on(model, "gemma", quantization=quantization, remat=remat)

    mine, plain = tuner_of("float8-backward"), tuner_of("none")
    found = [
        vector(tuner.gradients(window)) for tuner in (mine, tuner_of("float8-backward", remat=True))
    ]
    exact = vector(plain.gradients(window))
    assert mine.rounded and not plain.rounded
    np.testing.assert_array_equal(mine.hidden_states(window), plain.hidden_states(window))

    @jax.custom_vjp
    def emulated_gradient(x, result, matrix, _):
        return result

    emulated_gradient.defvjp(
        lambda x, result, matrix, _: (result, matrix),
        lambda matrix, slope: (called(slope, matrix.T), None, None, None),
    )
    monkeypatch.setattr(jax_block, "with_float8_gradient", emulated_gradient)
    monkeypatch.setattr(
        jax_float8_base,
        "backward_copy",
        lambda axes, outputs, kernel: (kernel.transpose(axes).reshape(outputs, -1).T, kernel),
    )
    for remat, gradients in zip((False, True), found, strict=True):
        emulated = vector(tuner_of("float8-backward", remat).gradients(window))
        assert 0.01 < relative(exact, emulated) < 0.3
        assert relative(gradients, emulated) < relative(exact, emulated) / 2
    # The base was where it is all along.
    mine.restore_base()
    assert not mine.rounded
    np.testing.assert_array_equal(mine.hidden_states(window), plain.hidden_states(window))


def test_int8_is_for_torch() -> None:
    with pytest.raises(ModelError, match="it is for torch, and the backend is JAX"):
        tuner_on(small_model("gemma", num_layers=1), "gemma", quantization="int8-backward")


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
