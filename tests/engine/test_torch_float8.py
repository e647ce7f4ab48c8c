"""A frozen base in float8: its products, its step, and the base that comes back."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.bench import kerasft_contender
from kerasft.engine import compiler, torch_block, torch_decoder, torch_float8
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.torch_block import GROUPS, lay_out
from kerasft.engine.torch_decompositions import shown_to_the_compiler
from kerasft.engine.torch_float8 import (
    BackwardMatrix,
    Float8Matrix,
    backward_matrix,
    float8_backward_product,
    float8_matrix,
    float8_product,
    quantised,
)
from kerasft.engine.torch_gate import gated, gated_kept_in_float8
from kerasft.engine.torch_product import Multiplier
from kerasft.errors import ModelError
from kerasft.models.architecture import blocks_of
from kerasft.models.families import FAMILIES
from kerasft.recipe import TrainSettings
from tests.engine.emulated import with_rounded_gradient
from tests.engine.rounding import e4m3, e5m2, rounded
from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, windows_of

pytestmark = pytest.mark.keras

QUANTIZATIONS = ("float8", "float8-backward")


def random(rows: int, columns: int, seed: int, requires_grad: bool = False) -> torch.Tensor:
    """Bfloat16, the rows and columns of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator)
    values *= torch.logspace(-3, 3, rows)[:, None] * torch.logspace(1, -2, columns)[None]
    return values.bfloat16().requires_grad_(requires_grad)


def numbers(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def assert_bfloat16_of(found: torch.Tensor, exact: np.ndarray) -> None:
    """Within one rounding to bfloat16, and what float32 sums lose."""
    assert found.dtype == torch.bfloat16
    bound = np.abs(exact) * 2.0**-8 + 1e-5 * np.abs(exact).max(axis=1, keepdims=True)
    assert (np.abs(numbers(found) - exact) <= bound).all()


@pytest.mark.parametrize(
    ("dtype", "nearest", "largest", "count"),
    [(torch.float8_e4m3fn, e4m3, 448, 127), (torch.float8_e5m2, e5m2, 57344, 124)],
)
def test_the_emulation_rounds_as_the_type_is_defined(dtype, nearest, largest, count):
    """Every number of the type is its own, and what lies between goes to the even one."""
    codes = torch.arange(count, dtype=torch.uint8).view(dtype).double().numpy()
    assert codes[-1] == largest and (np.diff(codes) > 0).all()
    np.testing.assert_array_equal(nearest(codes), codes)
    middles, below = (codes[1:] + codes[:-1]) / 2, np.arange(count - 1)
    np.testing.assert_array_equal(nearest(middles), codes[below + below % 2])


def test_products_and_gradients_are_those_of_rounded_factors():
    x, matrix = random(40, 64, 0, requires_grad=True), random(64, 48, 1)
    in_float8 = float8_matrix(matrix)
    y = float8_product(x, *in_float8)
    columns_rounded = rounded(numbers(matrix).T).T
    assert_bfloat16_of(y, rounded(numbers(x)) @ columns_rounded)
    slope = random(40, 48, 2)
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert_bfloat16_of(gradient, rounded(numbers(slope)) @ rounded(numbers(matrix)).T)
    # The two copies are not each other's transposes: each has its own scales.
    assert not np.array_equal(columns_rounded, rounded(numbers(matrix)))
    exact = numbers(x) @ numbers(matrix)
    error = np.linalg.norm(numbers(y) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 1e-3 < error.max() < 0.12


def test_a_product_forward_as_it_is_has_a_gradient_of_rounded_factors():
    x, matrix, slope = random(40, 64, 0, requires_grad=True), random(64, 48, 1), random(40, 48, 2)
    y = float8_backward_product(x, *backward_matrix(matrix))
    assert torch.equal(y, x @ matrix)
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert_bfloat16_of(gradient, rounded(numbers(slope)) @ rounded(numbers(matrix)).T)


def gate_gradients(
    gate: torch.Tensor, up: torch.Tensor, activation: str, slope: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """In float64, of gate and up as numpy has rounded them."""
    kept = [torch.from_numpy(e5m2(numbers(each))).requires_grad_() for each in (gate, up)]
    with torch.enable_grad():
        return torch.autograd.grad(gated(*kept, activation), kept, slope.double())


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_the_gate_is_exact_and_its_gradient_of_what_is_kept(activation):
    gate, up = random(20, 32, 0, requires_grad=True), random(20, 32, 1, requires_grad=True)
    slope = random(20, 32, 2)
    y = gated_kept_in_float8(gate, up, activation)[0]
    assert torch.equal(y, gated(gate, up, activation))
    found = torch.autograd.grad(y, (gate, up), slope)
    expected = gate_gradients(gate, up, activation, slope)
    for mine, wanted in zip(found, map(numbers, expected), strict=True):
        # One rounding to bfloat16, and float32's cancellation where the activation ends.
        bound = 2.0**-8 * np.abs(wanted) + 1e-5 * np.abs(numbers(slope)).max()
        assert (np.abs(numbers(mine) - wanted) <= bound).all()
    exact = torch.autograd.grad(gated(gate, up, activation), (gate, up), slope)
    for mine, whole in zip(found, exact, strict=True):
        assert 0.01 < relative(numbers(mine), numbers(whole)) < 0.2


def test_zeros_stay_and_what_is_no_number_shows():
    x = torch.zeros(3, 16, dtype=torch.bfloat16)
    x[1, 3], x[2, 5] = float("inf"), float("nan")
    y = float8_product(x, *float8_matrix(random(16, 32, 0)))
    assert (y[0] == 0).all() and not torch.isfinite(y[1:]).any()
    values, scale = quantised(torch.full((1, 16), 1e-38))
    assert torch.isfinite(values.float()).all() and scale > 0


def float8_tuner(family: str, *, quantization: str = "float8", **settings) -> FineTuner:
    model = small_model(family, dtype="bfloat16")
    return tuner_on(model, family, quantization=quantization, **settings)


def packed_window(length: int = 64) -> dict[str, np.ndarray]:
    examples = uneven_examples(3 * length // 16, seed=length)
    return windows_of(examples, 2, 2, packing=True, sequence_length=length)[0]


def vector(gradients: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in gradients.values()])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


EmulatedBackward = with_rounded_gradient(rounded)


class Emulated(EmulatedBackward):
    """x · matrix and its gradient from factors that numpy has rounded."""

    @staticmethod
    def forward(ctx, x, matrix):
        ctx.matrix = numbers(matrix)
        return torch.from_numpy(rounded(numbers(x)) @ rounded(ctx.matrix.T).T).bfloat16()


class EmulatedGate(torch.autograd.Function):
    """The gate, with gradients of what numpy has rounded."""

    @staticmethod
    def forward(ctx, gate, up, activation):
        ctx.kept = (gate, up, activation)
        return gated(gate, up, activation)

    @staticmethod
    def backward(ctx, slope):
        return *(each.bfloat16() for each in gate_gradients(*ctx.kept, slope)), None


@pytest.mark.parametrize(
    ("family", "layout"), [("gemma", "keras"), ("gemma2", "peft"), ("llama3", "keras")]
)
def test_a_step_multiplies_every_matrix_in_float8(family, layout, monkeypatch):
    """Hidden states and gradients are those of emulated products, and near bfloat16's."""
    window = packed_window()

    def measured(tuner: FineTuner) -> tuple[np.ndarray, np.ndarray]:
        gradients = tuner.gradients(window)
        assert all(np.abs(value).max() > 0 for value in gradients.values())
        return tuner.hidden_states(window), vector(gradients)

    mine = measured(float8_tuner(family, layout=layout))
    plain = measured(float8_tuner(family, layout=layout, quantization="none"))
    multiplier = Multiplier(Emulated.apply, torch.mm, torch.addmm)
    monkeypatch.setattr(torch_decoder, "choose_multiplier", lambda device, dtype: multiplier)
    emulated = measured(float8_tuner(family, layout=layout, quantization="none"))
    for found, expected, exact in zip(mine, emulated, plain, strict=True):
        # Sums that part in bfloat16's last bit are now and then rounded to another neighbour.
        assert relative(found, expected) < relative(exact, expected) / 3
        assert 0.03 < relative(exact, expected) < 0.5


@pytest.mark.parametrize("family", ["gemma", "llama3"])
def test_a_step_with_gradients_in_float8_has_the_forward_pass_of_bfloat16(family, monkeypatch):
    """Hidden states are equal, and gradients are those of emulated products and gates."""
    window = packed_window()
    mine = float8_tuner(family, quantization="float8-backward")
    plain = float8_tuner(family, quantization="none")
    found, exact = (vector(tuner.gradients(window)) for tuner in (mine, plain))
    assert mine.rounded and not plain.rounded
    np.testing.assert_array_equal(mine.hidden_states(window), plain.hidden_states(window))
    multiplier = Multiplier(EmulatedBackward.apply, torch.mm, torch.addmm)
    monkeypatch.setattr(torch_decoder, "choose_multiplier", lambda device, dtype: multiplier)
    monkeypatch.setattr(torch_block, "gated", EmulatedGate.apply)
    emulated = vector(float8_tuner(family, quantization="none").gradients(window))
    assert relative(found, emulated) < relative(exact, emulated) / 3
    assert 0.01 < relative(exact, emulated) < 0.3


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks captured whole and split into forward and backward, run by torch itself."""
    compile_by_torch = torch.compile

    def compile_without_options(
        function: Callable, *, fullgraph: bool, options: dict | None = None
    ) -> Callable:
        return compile_by_torch(function, fullgraph=fullgraph, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compile_without_options)
    monkeypatch.setattr(compiler, "obstacle", lambda: None)
    torch._dynamo.reset()


def bytes_kept(tuner: FineTuner, window: dict[str, np.ndarray]) -> int:
    """What a forward pass leaves for the backward one, variables and float8 aside."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.itemsize > 1 and not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    (micro, *_) = tuner._micro_batches(window, training=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tuner._decoder.hidden(micro, True)
    return sum(kept.values())


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_compiled_and_rematerialised_steps_are_the_eager_one(captured, quantization):
    """The operator is computed again and not kept, in tiles of the tokens too."""
    window = packed_window()

    def tuner_of(**settings) -> FineTuner:
        return float8_tuner("gemma", dropout=0.2, quantization=quantization, **settings)

    eager = vector(tuner_of().gradients(window))
    whole, remat = (tuner_of(compiled=True, remat=remat) for remat in (False, True))
    for tuner in (whole, remat):
        found = vector(tuner.gradients(window))
        np.testing.assert_allclose(found, eager, atol=0.02 * np.abs(eager).max())
    assert 0 < bytes_kept(remat, window) < bytes_kept(whole, window) / 3


def traced(feed_forward: Callable, matrices: list[tuple]) -> tuple[list[list[str]], list]:
    """What Inductor gets of a function of x (16, 32) and matrices, and what is kept.

    Names of the operators of the forward and of the backward pass, and the values that the
    one computes for the other.
    """
    from torch._functorch.aot_autograd import aot_function, make_boxed_func
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    shown_to_the_compiler()
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable:
        graphs.append(graph)
        return make_boxed_func(graph)

    made = aot_function(
        feed_forward,
        fw_compiler=keep,
        bw_compiler=keep,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    x = random(16, 32, 0, requires_grad=True)
    flat = [part for matrix in matrices for part in matrix]
    made(x, flat).sum().backward()
    names = [
        [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        for graph in graphs
    ]
    results = graphs[0].graph.find_nodes(op="output")[0].args[0]
    return names, [node.meta["val"] for node in results[1:] if node.op == "call_function"]


def test_the_compiler_rounds_an_input_once_and_keeps_no_bfloat16_product(captured):
    """As Inductor traces and splits: gate and up read one rounding of x."""

    def feed_forward(x: torch.Tensor, flat: list[torch.Tensor]) -> torch.Tensor:
        gate, up, down = (Float8Matrix(*flat[at : at + 4]) for at in (0, 4, 8))
        gate, up = (float8_product(x, *each) for each in (gate, up))
        return float8_product(gated(gate, up, "silu"), *down)

    matrices = [float8_matrix(random(*size, 1)) for size in ((32, 64), (32, 64), (64, 32))]
    (forward, backward), kept = traced(feed_forward, matrices)
    assert sum("float8_product" in name for name in forward + backward) == 0
    assert [sum("scaled_product" in name for name in g) for g in (forward, backward)] == [3, 3]
    # x and the activation; the gradients of the output, of gate and of up.
    assert [sum("amax" in name for name in g) for g in (forward, backward)] == [2, 3]
    widths = [tuple(v.shape) for v in kept if v.dtype == torch.bfloat16]
    assert widths == [(16, 64), (16, 64)]


def test_the_compiler_keeps_gate_and_up_in_float8(captured):
    def feed_forward(x: torch.Tensor, flat: list[torch.Tensor]) -> torch.Tensor:
        gate, up, down = (BackwardMatrix(*flat[at : at + 3]) for at in (0, 3, 6))
        gate, up = (float8_backward_product(x, *each) for each in (gate, up))
        return float8_backward_product(gated_kept_in_float8(gate, up, "gelu")[0], *down)

    matrices = [backward_matrix(random(*size, 1)) for size in ((32, 64), (32, 64), (64, 32))]
    (forward, backward), kept = traced(feed_forward, matrices)
    assert [sum("gated_kept" in name for name in g) for g in (forward, backward)] == [1, 0]
    assert [sum("backward_product" in name for name in g) for g in (forward, backward)] == [3, 0]
    assert [sum("scaled_product" in name for name in g) for g in (forward, backward)] == [0, 3]
    # The gradients of the output, of gate and of up.
    assert [sum("amax" in name for name in g) for g in (forward, backward)] == [0, 3]
    assert [(v.dtype, tuple(v.shape)) for v in kept] == 2 * [(torch.float8_e5m2, (16, 64))]


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_base_comes_back_bit_for_bit(quantization):
    """The originals are views of their groups' matrices while steps are done, and afterwards."""
    causal_lm = small_model("gemma2", dtype="bfloat16")
    config = FAMILIES["gemma2"].config_of(causal_lm.backbone)
    specs = FAMILIES["gemma2"].tensors(config)

    def values() -> dict[str, np.ndarray]:
        return {s.name: numbers(s.variable(causal_lm.backbone).value) for s in specs}

    before = values()
    tuner = tuner_on(causal_lm, "gemma2", quantization=quantization)
    tuner.prepare(TrainSettings(learning_rate=1e-2), total_steps=3)
    windows = windows_of(uneven_examples(12), 4, 1)
    first = fit(tuner, windows)
    assert tuner._decoder.rounded
    blocks = blocks_of(causal_lm.backbone, specs, ("global",) * 3, tuner.lora)
    laid = [lay_out(block) for block in blocks]
    tuner.restore_base()
    assert not tuner._decoder.rounded
    for name, value in values().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    for block, tensors in zip(blocks, laid, strict=True):
        again = lay_out(block)
        for group, targets in GROUPS.items():
            assert torch.equal(again[group], tensors[group])
            kernel = block.projections[targets[0]].kernel.value
            assert kernel.data_ptr() == again[group].data_ptr()
    # Steps go on from there.
    second = fit(tuner, windows)
    assert tuner._decoder.rounded and second[-1]["loss"] < first[0]["loss"]


def test_a_device_without_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch runs on cpu" in torch_float8.obstacle()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    assert "NVIDIA L4 has 8.9" in torch_float8.obstacle()
    # From Hopper on the product itself is tried.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch_float8, "_missing", lambda kind: f"none on {kind}")
    assert torch_float8.obstacle() == "none on cuda"


def test_the_benchmark_tells_why_it_has_no_float8(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kerasft_contender, "model", lambda work: pytest.fail("weights are loaded"))
    monkeypatch.setattr(torch_float8, "obstacle", lambda: "it is too cold")
    with pytest.raises(ModelError, match=r"float8 cannot be had here: it is too cold; set it"):
        kerasft_contender.run(None, [], "torch-float8")


def test_a_torch_without_the_product_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("rowwise is not for sm_120\nmore")

    assert torch_float8._missing("cpu") is None
    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    assert torch_float8._missing("cpu").endswith("on cpu (rowwise is not for sm_120)")
