"""A Keras model of a shape with random weights, made where it will be used."""

from typing import Any

import keras

from kerasft.models.families import Family

STANDARD_DEVIATION = 0.02


def random_causal_lm(family: Family, config: Any, dtype: str, seed: int) -> Any:
    """A KerasHub causal LM with normal kernels and embeddings; norms stay as they are built.

    Each variable is filled in its own memory, so that the peak of a benchmark is that of
    training and not of drawing numbers.
    """
    causal_lm = family.build(config, dtype)
    fill = _torch_filler(seed) if keras.backend.backend() == "torch" else _jax_filler(seed)
    for spec in family.tensors(config):
        if len(spec.shape) > 1:
            fill(spec.variable(causal_lm.backbone))
    return causal_lm


def _torch_filler(seed: int) -> Any:
    import torch

    torch.manual_seed(seed)

    def fill(variable: keras.Variable) -> None:
        with torch.no_grad():
            variable.value.normal_(0.0, STANDARD_DEVIATION)

    return fill


def _jax_filler(seed: int) -> Any:
    import jax
    import jax.numpy as jnp

    def draw(old: jax.Array, key: jax.Array) -> jax.Array:
        values = STANDARD_DEVIATION * jax.random.normal(key, old.shape, jnp.float32)
        return values.astype(old.dtype)

    # The old array is donated and kept as an argument: the new one takes its place.
    drawn = jax.jit(draw, donate_argnums=0, keep_unused=True)
    keys = iter(jax.random.split(jax.random.key(seed), 10_000))

    def fill(variable: keras.Variable) -> None:
        variable._value = drawn(variable._value, next(keys))

    return fill
