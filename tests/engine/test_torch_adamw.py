"""AdamW on long vectors, held against Keras' own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine.schedule import WarmupSchedule
from kerasft.engine.torch_adamw import FlatAdamW, FlatVariables
from kerasft.recipe import TrainSettings

pytestmark = pytest.mark.keras


def variables_of(shapes: list[tuple[int, ...]]) -> list[keras.Variable]:
    random = np.random.default_rng(0)
    return [keras.Variable(random.standard_normal(shape).astype(np.float32)) for shape in shapes]


def adamw(settings: TrainSettings, clip: bool = False) -> keras.optimizers.AdamW:
    return keras.optimizers.AdamW(
        learning_rate=WarmupSchedule(settings, 8),
        weight_decay=settings.weight_decay,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
        global_clipnorm=settings.clip_norm if clip else None,
    )


SHAPES = [(4, 3, 2), (2, 5), (7,)]
UPDATE = TrainSettings(
    learning_rate=0.05, schedule="cosine", warmup=2, weight_decay=0.2, clip_norm=6.3
)


def flat_update(variables: list[keras.Variable]) -> tuple[FlatVariables, FlatAdamW, Any]:
    optimizer = adamw(UPDATE)
    optimizer.build(variables)
    flat = FlatVariables(variables)
    return flat, FlatAdamW(optimizer, variables, flat), optimizer


def some_gradients(step: int) -> list[torch.Tensor]:
    """Of a norm around 6, so that some are clipped and some are not."""
    random = np.random.default_rng(100 + step)
    return [torch.tensor(random.standard_normal(shape), dtype=torch.float32) for shape in SHAPES]


def test_the_flat_update_is_that_of_keras():
    plain, ours = variables_of(SHAPES), variables_of(SHAPES)
    reference = adamw(UPDATE, clip=True)
    reference.build(plain)
    flat, update, optimizer = flat_update(ours)
    norms = []
    for step in range(8):
        gradients = some_gradients(step)
        assert float(reference.learning_rate) == pytest.approx(
            float(WarmupSchedule(UPDATE, 8)(step))
        )
        reference.apply([gradient.clone() for gradient in gradients], plain)
        flat.gradient.zero_()
        flat.add_gradients([gradient / 4 for gradient in gradients])
        flat.add_gradients([gradient * 3 / 4 for gradient in gradients])
        norm, rate = update.update(UPDATE.clip_norm)
        norms.append(float(norm))
        assert rate == pytest.approx(float(WarmupSchedule(UPDATE, 8)(step)))
        whole = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        assert float(norm) == pytest.approx(float(whole), rel=1e-6)
        for mine, theirs in zip(ours, plain, strict=True):
            # Keras raises the betas to powers in float32, which costs the first correction
            # a hundred-thousandth.
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=2e-6)
    assert min(norms) < UPDATE.clip_norm < max(norms)
    pairs = zip(optimizer.variables, reference.variables, strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-7)


def test_variables_are_views_of_the_vectors_and_stay_so():
    variables = variables_of(SHAPES)
    before = [np.array(variable.numpy()) for variable in variables]
    flat, update, optimizer = flat_update(variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    flat.add_gradients(some_gradients(0))
    update.update(0.0)
    variables[1].assign(np.full((2, 5), 7.0, np.float32))
    assert flat.vector[24:34].tolist() == [7.0] * 10
    optimizer._momentums[0].assign(np.full((4, 3, 2), 3.0, np.float32))
    assert update._first[:24].tolist() == [3.0] * 24
    update.update(0.0)
    assert not np.any(variables[1].numpy() == 7.0)
    assert not np.any(optimizer._momentums[0].numpy() == 3.0)


def test_a_restored_state_goes_on_as_before():
    first = variables_of(SHAPES)
    flat, update, optimizer = flat_update(first)

    def run(steps: range, flat: FlatVariables, update: FlatAdamW) -> None:
        for step in steps:
            flat.gradient.zero_()
            flat.add_gradients(some_gradients(step))
            update.update(UPDATE.clip_norm)

    run(range(3), flat, update)
    values = [np.array(variable.numpy()) for variable in first]
    state = [np.array(variable.numpy()) for variable in optimizer.variables]
    run(range(3, 6), flat, update)
    second = variables_of(SHAPES)
    other_flat, other_update, other = flat_update(second)
    for variable, value in zip([*second, *other.variables], values + state, strict=True):
        variable.assign(value)
    other_update.restart()
    run(range(3, 6), other_flat, other_update)
    for mine, theirs in zip(second, first, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
