"""Products with frozen matrices in float8, on JAX.

Rounded as `torch_float8` rounds: e4m3, a scale for each row of x and each column of W, and a
second copy of W for the gradient's product. XLA gives such products to cuBLASLt. It knows no
scales by row, so these multiply the sums, which are kept for the backward pass as they are:
with the scales they would be read and written once more.

With `float8-backward` the forward product stays as it is, in bfloat16.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from kerasft.engine.float8 import LARGEST, device_obstacle

FLOAT8 = jnp.float8_e4m3fn
KEPT = jnp.float8_e5m2
"""Of gate and up with `float8-backward`; it reaches from 1.5e-5 to 57,344 and needs no scale."""

SCALES = "scales"
"""How the scales of x are named, for what a block keeps."""

_INNERMOST = (((1,), (1,)), ((), ()))


class Float8Matrix(NamedTuple):
    """A frozen matrix (inputs, outputs), rounded for both of its products.

    Attributes:
        forward: (outputs, inputs) e4m3.
        forward_scales: (outputs,) float32.
        backward: (inputs, outputs) e4m3.
        backward_scales: (inputs,) float32.
    """

    forward: jax.Array
    forward_scales: jax.Array
    backward: jax.Array
    backward_scales: jax.Array


class BackwardMatrix(NamedTuple):
    """A frozen kernel as it is, and rounded for its gradient's product.

    Attributes:
        kernel: as the model has it, in bfloat16.
        backward: (inputs, outputs) e4m3.
        backward_scales: (inputs,) float32.
    """

    kernel: jax.Array
    backward: jax.Array
    backward_scales: jax.Array


@partial(jax.jit, static_argnums=(0, 1))
def float8_matrix(axes: tuple[int, ...], outputs: int, kernel: jax.Array) -> Float8Matrix:
    """Round a kernel; `axes` and `outputs` as of a `models.architecture.Projection`."""
    turned = kernel.transpose(axes).reshape(outputs, -1)
    forward, forward_scales = quantised(turned)
    return Float8Matrix(forward, forward_scales[:, 0], *_rounded_inputs(turned))


@partial(jax.jit, static_argnums=(0, 1))
def backward_copy(
    axes: tuple[int, ...], outputs: int, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`backward` and `backward_scales` of a kernel; arguments as above."""
    return _rounded_inputs(kernel.transpose(axes).reshape(outputs, -1))


def _rounded_inputs(turned: jax.Array) -> tuple[jax.Array, jax.Array]:
    rounded, scales = quantised(turned.T)
    return rounded, scales[:, 0]


def quantised(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x (rows, columns) in e4m3, and the scale of each row, (rows, 1) float32.

    A row of zeros stays one; a row that is not finite everywhere gives no number.
    """
    largest = jnp.abs(x).max(axis=1, keepdims=True).astype(jnp.float32)
    scale = jnp.maximum(largest / LARGEST, jnp.finfo(jnp.float32).tiny)
    return (x.astype(jnp.float32) / scale).astype(FLOAT8), scale


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def float8_product(kept: str | None, x: jax.Array, matrix: Float8Matrix) -> jax.Array:
    """x (rows, inputs) · matrix: (rows, outputs) in the type of x; its gradient is one too.

    Args:
        kept: what to name the sums for `jax.checkpoint`, before their scales; None for no name.
        x: in bfloat16 or float32.
        matrix: in float8.
    """
    return _forward(kept, x, matrix)[0]


def _forward(kept: str | None, x: jax.Array, matrix: Float8Matrix) -> tuple[jax.Array, Any]:
    rounded, scale = quantised(x)
    sums = _sums(rounded, matrix.forward, x.dtype)
    if kept is not None:
        sums, scale = checkpoint_name(sums, kept), checkpoint_name(scale, SCALES)
    return _scaled(sums, scale, matrix.forward_scales), matrix


def _backward(kept: str | None, matrix: Float8Matrix, slope: jax.Array) -> tuple[jax.Array, None]:
    return _slope_product(slope, matrix.backward, matrix.backward_scales), None


float8_product.defvjp(_forward, _backward)


def _slope_product(slope: jax.Array, backward: jax.Array, scales: jax.Array) -> jax.Array:
    # XLA would leave out the rounding to bfloat16 and write slopes, and what they are made
    # of, in float32: 4 ms of Gemma-2B's step.
    rounded, scale = quantised(jax.lax.optimization_barrier(slope))
    return _scaled(_sums(rounded, backward, slope.dtype), scale, scales)


@jax.custom_vjp
def with_float8_gradient(
    x: jax.Array, result: jax.Array, backward: jax.Array, scales: jax.Array
) -> jax.Array:
    """`result`, the product of x and a kernel, with a gradient for x that is one in float8.

    Args:
        x: (rows, inputs).
        result: (rows, outputs), computed from x as a constant.
        backward, scales: of a `BackwardMatrix`.
    """
    return result


def _result(x: jax.Array, result: jax.Array, *rounded: jax.Array) -> tuple[jax.Array, Any]:
    return result, rounded


def _result_backward(rounded: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple:
    return _slope_product(slope, *rounded), None, None, None


with_float8_gradient.defvjp(_result, _result_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated_kept_in_float8(activation: str, gate: jax.Array, up: jax.Array) -> jax.Array:
    """`gated`, of which gate and up are kept for the backward pass in e5m2.

    They enter gradients alone, which are rounded anyway, and take half the memory so.
    """
    return gated(activation, gate, up)


def _gated_forward(activation: str, gate: jax.Array, up: jax.Array) -> tuple[jax.Array, Any]:
    rounded = (
        checkpoint_name(gate.astype(KEPT), "gate"),
        checkpoint_name(up.astype(KEPT), "up"),
    )
    return gated(activation, gate, up), rounded


def _gated_backward(
    activation: str, kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    gate, up = (each.astype(slope.dtype) for each in kept)
    return jax.vjp(partial(gated, activation), gate, up)[1](slope)


gated_kept_in_float8.defvjp(_gated_forward, _gated_backward)


def gated(activation: str, gate: jax.Array, up: jax.Array) -> jax.Array:
    """activation(gate) · up, of one shape; `activation` is `gelu` (its tanh form) or `silu`."""
    active = (jax.nn.silu if activation == "silu" else jax.nn.gelu)(gate.astype(jnp.float32))
    return active.astype(gate.dtype) * up


def _sums(x: jax.Array, matrix: jax.Array, dtype: Any) -> jax.Array:
    """Of (rows, inner) and (columns, inner): both innermost, as Hopper's products want them."""
    return jax.lax.dot_general(x, matrix, _INNERMOST, preferred_element_type=dtype)


def _scaled(sums: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    return (sums.astype(jnp.float32) * rows * columns).astype(sums.dtype)


def obstacle() -> str | None:
    """Why JAX's device has no products in float8, in words; None where it has."""
    device = jax.devices()[0]
    if "cuda" not in device.client.platform_version.lower():
        return device_obstacle("JAX", device.platform, device.device_kind, 0.0)
    return device_obstacle("JAX", "cuda", device.device_kind, float(device.compute_capability))
