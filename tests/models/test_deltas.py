"""The one formula of a delta, against sums written out; and what does not fit."""

import numpy as np
import pytest

from kerasft.errors import AdapterError
from kerasft.models.deltas import adapter_shapes, check_adapter, delta_of, kernel_delta
from kerasft.models.families import FAMILIES
from kerasft.recipe import LoraSettings
from tests.tiny import tiny_config

SPECS = {spec.name: spec for spec in FAMILIES["gemma"].tensors(tiny_config("gemma"))}
# One letter an axis: n heads, d hidden, h head width, f feed-forward, r rank.
KERAS = {"query": "ndr,rh->ndh", "output": "nhr,rd->nhd", "gate": "dr,rf->df", "down": "fr,rd->fd"}
PEFT = {
    "query": ("dr,rnh->ndh", (4, 16)),
    "output": ("nhr,rd->nhd", None),
    "gate": ("dr,rf->df", None),
    "down": ("fr,rd->fd", None),
}


def parts(target, layout):
    """(spec, settings, A, B) of one kernel, random."""
    room = "attention" if target in ("query", "output") else "ffw"
    spec = SPECS[f"decoder_block_0/{room}/{target}/kernel"]
    settings = LoraSettings(layout=layout, rank=3, alpha=6.0, target_layers=[target])
    random = np.random.default_rng(0)
    a, b = (
        random.standard_normal(shape).astype(np.float32) for shape in adapter_shapes(spec, settings)
    )
    return spec, settings, a, b


@pytest.mark.parametrize("target", KERAS)
def test_keras_layout(target):
    spec, settings, a, b = parts(target, "keras")
    delta = kernel_delta(spec, a, b, settings)
    assert delta.dtype == np.float32 and delta.shape == spec.shape
    np.testing.assert_allclose(delta, 2 * np.einsum(KERAS[target], a, b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", PEFT)
def test_peft_layout(target):
    spec, settings, a, b = parts(target, "peft")
    equation, heads = PEFT[target]
    wide = b.reshape(3, *heads) if heads else b
    tall = a.reshape(4, 16, 3) if target == "output" else a
    delta = kernel_delta(spec, a, b, settings)
    assert delta.dtype == np.float32 and delta.shape == spec.shape
    np.testing.assert_allclose(delta, 2 * np.einsum(equation, tall, wide), rtol=1e-4, atol=1e-5)


def test_a_kernel_without_an_adapter_has_no_delta():
    spec, settings, a, b = parts("query", "keras")
    tensors = {"decoder_block_0/attention/query/a": a, "decoder_block_0/attention/query/b": b}
    assert delta_of(spec, tensors, settings) is not None
    assert delta_of(spec, tensors, None) is None
    assert delta_of(SPECS["decoder_block_1/attention/query/kernel"], tensors, settings) is None


def test_what_does_not_fit_is_named_at_once():
    spec, settings, a, b = parts("query", "keras")
    with pytest.raises(AdapterError, match=r"expected \(4, 32, 3\) and \(3, 16\) in the layout"):
        kernel_delta(spec, a[..., :2], b, settings)
    tensors = {"decoder_block_0/attention/query/a": a, "elsewhere/a": a}
    with pytest.raises(AdapterError, match="does not fit this model \\(4\\)") as raised:
        check_adapter(SPECS.values(), tensors | {"decoder_block_1/attention/query/a": b}, settings)
    message = str(raised.value)
    assert "decoder_block_0/attention/query/b is missing" in message
    assert "elsewhere/a belongs to no layer" in message
    assert "decoder_block_1/attention/query/a has shape (3, 16), expected (4, 32, 3)" in message
