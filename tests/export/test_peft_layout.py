"""PEFT's factors of an adapter: exact where they claim it, nearest where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from kerasft.export.peft_layout import (
    Factors,
    Loss,
    factors_of,
    overall,
    shared,
    unfolded,
    vllm_rank,
)
from kerasft.models.deltas import kernel_delta
from kerasft.models.families import FAMILIES
from kerasft.models.peft_files import PeftModule
from tests.export.live import tiny_weights


@pytest.mark.parametrize("layout", ["keras", "peft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_unfolded_factors_have_the_trained_product(family, layout):
    weights = tiny_weights(family, layout=layout, rank=3, alpha=5)
    settings, config = weights.lora_settings, weights.config
    heads = {
        "query": config["num_query_heads"],
        "key": config["num_key_value_heads"],
        "value": config["num_key_value_heads"],
    }
    adapted = [spec for spec in weights.family.tensors(config) if spec.target]
    assert {spec.target for spec in adapted} == set(FAMILIES[family].targets)
    for spec in adapted:
        path = spec.name.removesuffix("kernel")
        a, b = weights.tensors[f"{path}a"], weights.tensors[f"{path}b"]
        factors = unfolded(spec, a, b, layout)
        outputs, inputs = spec.hf_shape
        rank = 3 * heads.get(spec.target, 1) if layout == "keras" else 3
        assert (factors.a.shape, factors.b.shape) == ((rank, inputs), (outputs, rank))
        np.testing.assert_allclose(
            PeftModule(factors.a, factors.b, settings.scale).delta(spec),
            kernel_delta(spec, a, b, settings),
            rtol=1e-5,
            atol=1e-6,
        )
        # Values are copied, none is computed: each of A once, each of B once a head.
        assert sorted(factors.a.ravel()) == sorted(a.ravel())
        copies = rank // 3
        nonzero = factors.b[factors.b != 0]
        assert sorted(nonzero) == sorted(np.tile(b.ravel(), copies))


def random_factors(rank: int, outputs: int = 20, inputs: int = 12) -> Factors:
    random = np.random.default_rng(rank)
    return Factors(
        random.standard_normal((rank, inputs), np.float32),
        random.standard_normal((outputs, rank), np.float32),
    )


@pytest.mark.parametrize(("rank", "kept"), [(6, 2), (6, 5), (30, 4), (30, 14)])
def test_a_shared_rank_is_the_nearest_product_of_that_rank(rank, kept):
    factors = random_factors(rank)
    product = (factors.b @ factors.a).astype(np.float64)
    u, sizes, v = np.linalg.svd(product, full_matrices=False)
    nearest, loss = shared(factors, kept)
    assert nearest.a.shape == (kept, 12) and nearest.b.shape == (20, kept)
    assert nearest.a.dtype == nearest.b.dtype == np.float32
    found = nearest.b @ nearest.a
    np.testing.assert_allclose(found, (u[:, :kept] * sizes[:kept]) @ v[:kept], atol=1e-4)
    assert loss.lost == pytest.approx(np.sum(sizes[kept:] ** 2), rel=1e-6, abs=1e-6)
    assert loss.whole == pytest.approx(np.sum(sizes**2), rel=1e-6)
    distance = np.linalg.norm(found - product) / np.linalg.norm(product)
    assert loss.relative == pytest.approx(distance, abs=1e-6)


def test_a_higher_rank_is_the_same_product_to_the_bit():
    factors = random_factors(3)
    filled, loss = shared(factors, 8)
    assert filled.rank == 8 and loss.lost == 0
    assert loss.whole == pytest.approx(np.linalg.norm(factors.b @ factors.a) ** 2, rel=1e-5)
    np.testing.assert_array_equal(filled.a[:3], factors.a)
    np.testing.assert_array_equal(filled.b[:, :3], factors.b)
    assert not filled.a[3:].any() and not filled.b[:, 3:].any()


def test_an_adapter_that_is_zero_loses_nothing():
    nearest, loss = shared(Factors(np.ones((4, 6), np.float32), np.zeros((5, 4), np.float32)), 2)
    assert loss.relative == 0 and not (nearest.b @ nearest.a).any()
    assert overall([loss, Loss(1.0, 4.0)]) == 0.5


def test_a_kernel_without_an_adapter_has_no_factors():
    weights = tiny_weights("gemma", targets=["value"])
    specs = {spec.target: spec for spec in weights.family.tensors(weights.config)}
    spec = specs["query"]
    assert factors_of(spec, weights.tensors, weights.lora_settings) is None


@pytest.mark.parametrize(
    ("rank", "allowed"), [(1, 8), (8, 8), (9, 16), (257, 320), (512, 512), (513, None)]
)
def test_vllm_keeps_room_in_steps(rank, allowed):
    assert vllm_rank(rank) == allowed
