"""Gradients' products in int8 on a CPU: the products, the step, and what the compiler sees."""

from __future__ import annotations

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine import torch_decoder
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.torch_decompositions import shown_to_the_compiler
from kerasft.engine.torch_int8 import int8_backward_product, int8_matrix
from kerasft.engine.torch_product import Multiplier
from tests.engine.emulated import with_rounded_gradient
from tests.engine.tuning import small_model, tuner_on, uneven_examples, windows_of

pytestmark = pytest.mark.keras


def random(rows: int, columns: int, seed: int) -> torch.Tensor:
    """The rows and columns of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator)
    return values * torch.logspace(-3, 3, rows)[:, None] * torch.logspace(1, -2, columns)[None]


def numbers(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def rounded(x: np.ndarray) -> np.ndarray:
    """Rows rounded to whole multiples of a 127th of the largest of each."""
    scale = np.abs(x).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.round(x.astype(np.float32) * (1 / scale)).astype(np.float64) * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_exact_and_its_gradient_of_rounded_factors(dtype):
    x, matrix, slope = (random(*size).to(dtype) for size in ((40, 64, 0), (64, 48, 1), (40, 48, 2)))
    x.requires_grad_()
    y = int8_backward_product(x, *int8_matrix(matrix))
    assert torch.equal(y, x @ matrix)
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert gradient.dtype == dtype
    exact = rounded(numbers(slope)) @ rounded(numbers(matrix)).T
    unrounded = numbers(slope) @ numbers(matrix).T
    bound = 1e-6 if dtype == torch.float32 else 2.0**-8
    for found, expected, whole in zip(numbers(gradient), exact, unrounded, strict=True):
        norm = np.linalg.norm(expected)
        assert np.linalg.norm(found - expected) < bound * norm
        assert 1e-3 < np.linalg.norm(whole - expected) / norm < 0.05


def test_zeros_stay_and_what_is_no_number_shows():
    x = torch.zeros(3, 16, requires_grad=True)
    y = int8_backward_product(x, *int8_matrix(random(16, 32, 0)))
    slope = torch.zeros(3, 32)
    slope[1, 3], slope[2, 5] = float("inf"), float("nan")
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert (gradient[0] == 0).all() and not torch.isfinite(gradient[1:]).any()


@pytest.mark.parametrize("family", ["gemma", "llama3"])
def test_a_step_has_the_forward_pass_of_the_base(family, monkeypatch):
    """Hidden states are equal; gradients are those of emulated products, rematerialised too."""
    window = windows_of(uneven_examples(12, seed=64), 2, 2, packing=True, sequence_length=64)[0]

    def tuner_of(quantization: str, **settings) -> FineTuner:
        return tuner_on(small_model(family), family, quantization=quantization, **settings)

    def gradients(tuner: FineTuner) -> np.ndarray:
        return np.concatenate([value.ravel() for value in tuner.gradients(window).values()])

    def relative(found: np.ndarray, expected: np.ndarray) -> float:
        return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

    mine, plain = tuner_of("int8-backward"), tuner_of("none")
    found, exact = gradients(mine), gradients(plain)
    again = gradients(tuner_of("int8-backward", remat=True))
    assert mine.rounded and not plain.rounded
    np.testing.assert_array_equal(mine.hidden_states(window), plain.hidden_states(window))
    multiplier = Multiplier(with_rounded_gradient(rounded).apply, torch.mm, torch.addmm)
    monkeypatch.setattr(torch_decoder, "choose_multiplier", lambda device, dtype: multiplier)
    emulated = gradients(tuner_of("none"))
    assert 2e-3 < relative(exact, emulated) < 0.1
    for each in (found, again):
        # Sums in float32 now and then round a number to another neighbour.
        assert relative(each, emulated) < relative(exact, emulated) / 3
    mine.restore_base()
    np.testing.assert_array_equal(gradients(mine), found)


def test_the_compiler_sees_the_products():
    """Forward a product of its own, backward one in int8 between what rounds and scales."""
    from torch._functorch.aot_autograd import aot_function, make_boxed_func
    from torch._inductor.decomposition import select_decomp_table

    shown_to_the_compiler()
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: list[torch.Tensor]):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return make_boxed_func(graph)

    made = aot_function(
        int8_backward_product,
        fw_compiler=keep,
        bw_compiler=keep,
        decompositions=select_decomp_table(),
    )
    x = random(16, 32, 0).requires_grad_()
    made(x, *int8_matrix(random(32, 64, 1))).sum().backward()
    forward, backward = graphs
    assert [name for name in forward if "mm" in name or "kerasft" in name] == ["aten.mm.default"]
    assert [name for name in backward if "mm" in name or "kerasft" in name] == [
        "aten._int_mm.default"
    ]
