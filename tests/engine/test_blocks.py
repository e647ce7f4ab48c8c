"""The decoder that the step computes itself: KerasHub's function, for packed rows too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest

from kerasft.engine.dropout import layer_key, mix, threshold
from kerasft.engine.finetuner import FineTuner
from tests.engine.tuning import small_model, tuner_on
from tests.tiny import VOCABULARY, WINDOW

pytestmark = pytest.mark.keras

EVERY_FAMILY = ("gemma", "gemma2", "gemma3", "llama3")
LAYOUTS = ("keras", "peft")
LENGTH = 3 * WINDOW
SUPERVISED = 40
SEGMENTS = 12

Row = Sequence[np.ndarray]


@cache
def tuner_of(
    family: str, layout: str = "keras", dtype: str = "float32", remat: bool = False
) -> FineTuner:
    """A fine-tuner whose adapter moves every target; tests leave it as it is."""
    causal_lm = small_model(family, dtype=dtype)
    return tuner_on(causal_lm, family, remat=remat, layout=layout)


def documents(*lengths: int, seed: int = 1) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(4, VOCABULARY, length).astype(np.int32) for length in lengths]


def window_of(rows: Sequence[Row], seed: int = 0) -> dict[str, np.ndarray]:
    """One micro-batch of rows of documents, every token but the first of each a target."""
    window: dict[str, Any] = {
        name: np.zeros((1, len(rows), LENGTH), np.int32)
        for name in ("token_ids", "segment_ids", "position_ids")
    }
    starts, indices, targets = [], [], []
    for place, row in enumerate(rows):
        at = 0
        for number, document in enumerate(row, start=1):
            size, first = len(document), place * LENGTH + at
            window["token_ids"][0, place, at : at + size] = document
            window["segment_ids"][0, place, at : at + size] = number
            window["position_ids"][0, place, at : at + size] = np.arange(size)
            starts.append(first)
            indices += range(first, first + size - 1)
            targets += document[1:].tolist()
            at += size
        if at < LENGTH:
            starts.append(place * LENGTH + at)
            window["position_ids"][0, place, at:] = np.arange(LENGTH - at)
    room = -(-len(targets) // SUPERVISED) * SUPERVISED
    empty = room - len(targets)
    starts += [len(rows) * LENGTH] * (SEGMENTS - len(starts))
    return window | {
        "sequence_starts": np.asarray([starts], np.int32),
        "gather_indices": np.asarray([indices + [0] * empty], np.int32),
        "targets": np.asarray([targets + [0] * empty], np.int32),
        "weights": np.asarray([[1.0] * len(targets) + [0.0] * empty], np.float32),
        "dropout_seeds": np.asarray([seed], np.uint32),
    }


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def furthest(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """`apart` of the tensor that is furthest."""
    assert list(found) == list(expected)
    return max(apart(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_hidden_states_are_those_of_kerashub(family, layout):
    tuner = tuner_of(family, layout)
    window = window_of([[each] for each in documents(LENGTH, LENGTH)])
    token_ids = window["token_ids"][0]
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    expected = keras.ops.convert_to_numpy(keras.ops.stop_gradient(tuner.backbone(inputs)))
    assert apart(tuner.hidden_states(window)[0], expected) < 1e-5
    with tuner.lora.disabled():
        base = tuner.hidden_states(window)[0]
        expected_base = keras.ops.convert_to_numpy(keras.ops.stop_gradient(tuner.backbone(inputs)))
    assert apart(base, expected) > 0.01  # the adapter acts, and acts in both
    assert apart(base, expected_base) < 1e-5


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_packed_documents_are_what_each_is_alone(family):
    tuner = tuner_of(family)
    first, second, third, fourth = documents(11, 12, 17, 7)
    packed = tuner.hidden_states(window_of([[first, second], [third, fourth]]))[0]
    alone = tuner.hidden_states(window_of([[first], [second], [third], [fourth]]))[0]
    found = (packed[0, :11], packed[0, 11:23], packed[1, :17], packed[1, 17:])
    for place, states in enumerate(found):
        assert apart(states, alone[place, : len(states)]) < 1e-5
    assert np.isfinite(packed).all() and np.isfinite(alone).all()


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama3"])
def test_a_document_does_not_change_its_neighbour(family):
    tuner = tuner_of(family)
    first, second, other = documents(11, 12, 11)
    for one, two, kept in (
        ([first, second], [other, second], slice(11, 23)),
        ([second, first], [second, other], slice(0, 12)),
    ):
        before, after = (tuner.hidden_states(window_of([row, row]))[0] for row in (one, two))
        assert np.abs(after - before).max() > 0.1
        assert np.abs(after[:, kept] - before[:, kept]).max() <= 1e-6


@pytest.mark.parametrize("family", EVERY_FAMILY)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_the_plain_keras_loss(family, layout):
    tuner = tuner_of(family, layout)
    window = window_of([[each] for each in documents(LENGTH, 13)])
    # Seven blocks of float32 roundings: 1.2e-5 was the most that was seen.
    assert furthest(tuner.gradients(window), plain_gradients(tuner, window)) < 3e-5


def plain_gradients(tuner: FineTuner, window: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of Keras' own loss on KerasHub's forward pass with full logits."""
    token_ids, segment_ids = window["token_ids"][0], window["segment_ids"][0]
    weights = ((segment_ids > 0) & (np.roll(segment_ids, -1, 1) > 0)).astype(np.float32)
    weights[:, -1] = 0
    assert weights.sum() == window["weights"].sum()
    inputs = {"token_ids": token_ids, "padding_mask": segment_ids}
    targets = np.roll(token_ids, -1, 1)
    shares = keras.ops.convert_to_tensor(weights / weights.sum())

    def loss(hidden: Any) -> Any:
        logits = tuner.backbone.token_embedding(hidden, reverse=True)
        losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return keras.ops.sum(losses * shares)

    variables = tuner.lora.variables
    if keras.backend.backend() == "torch":
        import torch

        found = torch.autograd.grad(
            loss(tuner.backbone(inputs)), [variable.value for variable in variables]
        )
        found = [value.numpy() for value in found]
    else:
        import jax

        def stateless(values: list) -> Any:
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return loss(tuner.backbone(inputs))

        found = jax.jit(jax.grad(stateless))([variable.value for variable in variables])
    return dict(zip(tuner.lora.tensors(), map(np.asarray, found), strict=True))


def test_packing_does_not_change_the_gradients():
    tuner = tuner_of("gemma3")
    first, second, third, fourth = documents(11, 12, 17, 7)
    alone = tuner.gradients(window_of([[first], [second], [third], [fourth]]))
    assert furthest(tuner.gradients(window_of([[first, second], [third, fourth]])), alone) < 2e-5


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_rematerialisation_changes_nothing(family):
    window = window_of([documents(11, 12), documents(17, 7)])
    kept, again = (tuner_of(family, remat=remat).gradients(window) for remat in (False, True))
    assert furthest(again, kept) <= 5e-6  # compiled apart, so rounded apart


def test_feed_forward_tiles_change_nothing(backend, monkeypatch):
    if backend != "jax":
        pytest.skip("torch computes the feed-forward layer at once")
    from kerasft.engine import jax_block

    settings = {"family": "gemma", "dropout": 0.4}
    window = window_of([documents(11, 12), documents(17, 7)], seed=5)
    whole = tuner_on(small_model("gemma"), remat=True, **settings).gradients(window)
    monkeypatch.setattr(jax_block, "TILE_BYTES", 48 * 4 * 13)
    assert jax_block.tile_tokens(2 * LENGTH, 48, 4) == 12
    tiled = tuner_on(small_model("gemma"), remat=True, **settings).gradients(window)
    assert furthest(tiled, whole) <= 1e-6


def test_dropout_is_a_function_of_its_seed():
    family, settings = "gemma", {"dropout": 0.4, "target_layers": ["query", "up", "down"]}
    rows = [documents(11, 12), documents(17, 7)]
    tuner = tuner_on(small_model(family), family, **settings)
    first = tuner.gradients(window_of(rows, seed=5))
    assert furthest(tuner.gradients(window_of(rows, seed=5)), first) == 0
    assert furthest(tuner.gradients(window_of(rows, seed=6)), first) > 0.1
    again = tuner_on(small_model(family), family, remat=True, **settings)
    assert furthest(again.gradients(window_of(rows, seed=5)), first) <= 1e-6
    plain = tuner_on(small_model(family), family, target_layers=settings["target_layers"])
    window = window_of(rows, seed=5)
    np.testing.assert_array_equal(tuner.hidden_states(window), plain.hidden_states(window))


def test_dropout_keeps_the_same_elements_on_both_backends():
    """Read off the gradient of the last layer's A at one supervised token.

    Its column is zero exactly where that token's input was dropped.
    """
    tuner = tuner_on(
        small_model("gemma", num_layers=1), "gemma", dropout=0.4, target_layers=["down"]
    )
    (path,) = tuner.lora.layers
    token, seed, inputs = 17, 7, tuner.lora.layers[path].a.shape[0]
    window = window_of([documents(LENGTH)], seed=seed)
    window["gather_indices"][:] = token
    window["weights"][:] = np.arange(window["weights"].shape[1]) == 0
    kept = (tuner.gradients(window)[f"{path}/a"] != 0).any(axis=1)
    elements = np.arange(token * inputs, (token + 1) * inputs, dtype=np.uint32)
    key = np.uint32(layer_key(seed, tuner.lora.layers[path].path_seed))
    np.testing.assert_array_equal(kept, mix(elements ^ key) >= threshold(0.4))
    assert (int(kept.sum()), inputs) == (28, 48)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_bfloat16_stays_near_float32(family):
    """Within 3 % of the states' root mean square, and 30 % of a gradient's."""
    window = window_of([documents(11, 12), documents(17, 7)])
    exact, rounded = (tuner_of(family, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert spread(rounded.hidden_states(window), exact.hidden_states(window)) < 0.03
    gradients = exact.gradients(window)
    for name, value in rounded.gradients(window).items():
        assert spread(value, gradients[name]) < 0.3, name


def spread(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference, relative to that of the value."""
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))
