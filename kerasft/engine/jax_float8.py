"""Products with frozen matrices in float8, on JAX.

Rounded as `torch_float8` rounds: e4m3, a scale for each row of x and each column of W, and a
second copy of W for the gradient's product. XLA gives such products to cuBLASLt. It knows no
scales by row, so these multiply the sums, which are kept for the backward pass as they are:
with the scales they would be read and written once more.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from kerasft.engine.float8 import LARGEST, device_obstacle

FLOAT8 = jnp.float8_e4m3fn
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


@partial(jax.jit, static_argnums=(0, 1))
def float8_matrix(axes: tuple[int, ...], outputs: int, kernel: jax.Array) -> Float8Matrix:
    """Round a kernel; `axes` and `outputs` as of a `models.architecture.Projection`."""
    turned = kernel.transpose(axes).reshape(outputs, -1)
    forward, forward_scales = quantised(turned)
    backward, backward_scales = quantised(turned.T)
    return Float8Matrix(forward, forward_scales[:, 0], backward, backward_scales[:, 0])


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
    rounded, scale = quantised(slope)
    sums = _sums(rounded, matrix.backward, slope.dtype)
    return _scaled(sums, scale, matrix.backward_scales), None


float8_product.defvjp(_forward, _backward)


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
