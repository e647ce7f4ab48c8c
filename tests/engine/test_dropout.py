"""Dropout from a counter: the mixer by plain integers, and what its masks look like."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from kerasft.engine.dropout import layer_key, mix, threshold

PATHS = [
    f"decoder_block_{block}/{layer}"
    for block in range(3)
    for layer in ("attention/query", "attention/key", "ffw/gate", "ffw/up")
]
INPUTS, TOKENS = 96, 4096


def mixed(value: int) -> int:
    """`lowbias32` on one integer."""
    value ^= value >> 16
    value = value * 0x7FEB352D % 2**32
    value ^= value >> 15
    value = value * 0x846CA68B % 2**32
    return value ^ value >> 16


def kept(seed: int, path: str, rate: float) -> np.ndarray:
    """The mask of a layer in a micro-batch, (TOKENS, INPUTS)."""
    elements = np.arange(TOKENS * INPUTS, dtype=np.uint32)
    key = np.uint32(layer_key(seed, zlib.crc32(path.encode())))
    return (mix(elements ^ key) >= threshold(rate)).reshape(TOKENS, INPUTS)


def test_the_mixer_is_lowbias32():
    random = np.random.default_rng(0).integers(0, 2**32, 200, dtype=np.uint32)
    values = np.concatenate(([0, 1, 2**16, 2**31, 2**32 - 1], random)).astype(np.uint32)
    assert mix(values).tolist() == [mixed(int(value)) for value in values]
    assert mix(values).dtype == np.uint32
    assert mixed(0) == 0 and len(set(mix(np.arange(10**5)).tolist())) == 10**5


@pytest.mark.parametrize("seed", [0, 7, np.uint32(2**32 - 1)])
def test_a_layers_key_mixes_its_seed_with_the_micro_batchs(seed):
    for path_seed in (0, 1, zlib.crc32(PATHS[0].encode())):
        key = layer_key(seed, path_seed)
        assert type(key) is int and key == mixed(int(seed) ^ path_seed)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_kept_share_is_one_minus_the_rate(rate):
    """Of every mask within five standard deviations, of its columns and rows within six."""
    for size, deviations in ((None, 5), (0, 6), (1, 6)):
        for seed, path in enumerate(PATHS):
            mask = kept(seed, path, rate)
            share = mask.mean(axis=size)
            deviation = np.sqrt(rate * (1 - rate) / (mask.size / np.size(share)))
            assert np.abs(share - (1 - rate)).max() < deviations * deviation


def test_no_pattern_across_elements_layers_and_micro_batches():
    """Correlations of masks of 393,216 elements stay below five standard errors."""
    error = (TOKENS * INPUTS) ** -0.5
    masks = [kept(seed, path, 0.5) * 2.0 - 1 for seed in (11, 12) for path in PATHS]
    flat = np.stack([mask.ravel() for mask in masks])
    between = flat @ flat.T / flat.shape[1] - np.eye(len(flat))
    assert np.abs(between).max() < 5 * error
    for mask in masks:
        for rows, columns in ((0, 1), (0, 2), (0, 16), (1, 0), (2, 0), (1, 1)):
            moved = np.roll(mask, (rows, columns), (0, 1))
            assert abs((mask * moved).mean()) < 5 * error


def test_the_bits_below_the_threshold_are_the_rate():
    assert [threshold(rate) for rate in (0.0, 0.5, 0.75)] == [0, 2**31, 3 * 2**30]
    assert threshold(0.1) / 2**32 == pytest.approx(0.1, abs=1e-9)


@pytest.mark.keras
@pytest.mark.parametrize("layout", ["keras", "peft"])
def test_kept_inputs_are_scaled_up(layout):
    """Read off B's gradient at one token, where A picks single inputs and B is zero.

    The loss does not depend on the adapter then, so the gradient is proportional to what
    the adapter is given.
    """
    from tests.engine.tuning import small_tuner, uneven_examples, windows_of

    (window,) = windows_of(uneven_examples(1), 1, 1)
    window["weights"][:] = np.arange(window["weights"].shape[-1]) == 0
    token, rate = int(window["gather_indices"][0, 0]), 0.4
    found = {}
    for dropout in (0.0, rate):
        tuner = small_tuner(moved=False, dropout=dropout, target_layers=["down"], layout=layout)
        ((path, layer),) = tuner.lora.layers.items()
        inputs = layer.a.shape[0]
        elements = np.arange(token * inputs, (token + 1) * inputs, dtype=np.uint32)
        key = layer_key(int(window["dropout_seeds"][0]), layer.path_seed)
        mask = mix(elements ^ np.uint32(key)) >= threshold(rate)
        picked = [int(np.flatnonzero(mask)[0]), int(np.flatnonzero(~mask)[0])]
        a = np.zeros(layer.a.shape, np.float32)
        a[picked, [0, 1]] = 1
        tuner.lora.assign(tuner.lora.tensors() | {f"{path}/a": a})
        found[dropout] = tuner.gradients(window)[f"{path}/b"]
    assert np.abs(found[0.0]).max(axis=1).min() > 1e-4
    np.testing.assert_allclose(found[rate][0], found[0.0][0] / (1 - rate), rtol=1e-5, atol=1e-7)
    assert not found[rate][1].any()
