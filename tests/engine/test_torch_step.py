"""The step on torch: compiled, laid out flat, and where its attention comes from."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine import compiler, torch_decoder
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.schedule import WarmupSchedule
from kerasft.engine.torch_adamw import FlatAdamW, FlatVariables
from kerasft.engine.torch_attention import Attention, choose, rows_for
from kerasft.engine.torch_block import GROUPS, lay_out
from kerasft.engine.torch_product import Multiplier
from kerasft.models.architecture import blocks_of
from kerasft.models.families import FAMILIES
from kerasft.recipe import TrainSettings
from tests.engine.tuning import (
    fit,
    small_model,
    small_tuner,
    tuner_on,
    uneven_examples,
    windows_of,
    with_lora,
)

pytestmark = pytest.mark.keras

LENGTHS = (64, 128, 192, 256)


@pytest.fixture(
    params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)], ids=lambda name: name
)
def compile_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who runs the graphs that Dynamo captures whole: torch itself, or compiled code.

    Capturing, the split into forward and backward and the number of forms are the same;
    compiling for a CPU takes half a minute.
    """
    if request.param == "aot_eager":
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        monkeypatch.setattr(compiler, "obstacle", lambda: None)
    elif (obstacle := compiler.obstacle()) is not None:
        pytest.skip(f"nothing can be compiled here: {obstacle}")
    torch._dynamo.reset()
    return request.param


def packed_window(length: int = 64) -> dict[str, np.ndarray]:
    """Two micro-batches of two packed rows."""
    examples = uneven_examples(3 * length // 16, seed=length)
    return windows_of(examples, 2, 2, packing=True, sequence_length=length)[0]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gemma3", {"dropout": 0.3}),
        pytest.param("gemma3", {"dropout": 0.3, "remat": True}, marks=pytest.mark.slow),
        ("llama3", {"layout": "peft"}),
        ("llama3", {"dropout": 0.3, "remat": True}),
    ],
    ids=["gemma3", "gemma3 with remat", "llama3", "llama3 with remat"],
)
def test_compiled_is_eager(family, settings, compile_by):
    eager = tuner_on(small_model(family), family, **settings)
    made = tuner_on(small_model(family), family, compiled=True, **settings)
    assert made.notes == ["the step is compiled"]
    windows = packed_window(64), packed_window(128)
    for window in windows:
        found, expected = made.gradients(window), eager.gradients(window)
        for name, value in expected.items():
            bound = 2e-5 * np.abs(value).max()
            assert bound > 0
            np.testing.assert_allclose(found[name], value, atol=bound, err_msg=name)
    states = [tuner.hidden_states(windows[0]) for tuner in (made, eager)]
    np.testing.assert_allclose(*states, atol=1e-4)
    assert made.validate(windows[:1]) == pytest.approx(eager.validate(windows[:1]), rel=1e-5)


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products by kerasft's operators, as on a GPU with cuBLASLt."""
    named = torch.ops.kerasft
    multiplier = Multiplier(
        named.product.default, named.trained_product.default, named.product_added.default
    )
    monkeypatch.setattr(torch_decoder, "choose_multiplier", lambda device, dtype: multiplier)


def bytes_kept(tuner: FineTuner, window: dict[str, np.ndarray]) -> int:
    """Memory that the blocks keep for their backward pass, without the model's variables."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    micro = tuner._on_device(tuner._micro_batches(window, True)[0])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = tuner._decoder.hidden(micro, True)
    assert hidden.requires_grad
    variables = {v.value.untyped_storage().data_ptr() for v in tuner.backbone.variables}
    return sum(size for address, size in kept.items() if address not in variables)


def test_rematerialised_blocks_compute_the_operators_again(operators, compile_by):
    tuners = [
        tuner_on(small_model("gemma"), "gemma", compiled=True, remat=remat, layout="peft")
        for remat in (False, True)
    ]
    window = packed_window()
    expected, found = (tuner.gradients(window) for tuner in tuners)
    for name, value in expected.items():
        bound = 2e-5 * np.abs(value).max()
        assert bound > 0
        np.testing.assert_allclose(found[name], value, atol=bound, err_msg=name)
    everything, inputs = (bytes_kept(tuner, window) for tuner in tuners)
    assert 0 < inputs < everything / 4


def test_the_adapter_can_be_put_aside_after_compilation(compile_by):
    tuner = tuner_on(small_model("llama3"), "llama3", compiled=True)
    plain = tuner_on(small_model("llama3"), "llama3", moved=False)
    window = packed_window()
    tuner.gradients(window)
    acting = tuner.hidden_states(window)
    with tuner.lora.disabled():
        base = tuner.hidden_states(window)
    assert np.abs(acting - base).max() > 0.1
    np.testing.assert_allclose(base, plain.hidden_states(window), atol=1e-4)


def test_a_third_length_compiles_nothing(compile_by):
    """One form for the first length and one for every other, whatever is supervised."""
    tuner = tuner_on(small_model("gemma3"), "gemma3", compiled=True)
    tuner.prepare(TrainSettings(), total_steps=8)
    windows = [packed_window(length) for length in LENGTHS]
    assert [window["token_ids"].shape[2] for window in windows] == list(LENGTHS)
    assert len({window["weights"].shape for window in windows}) > 2
    fit(tuner, windows[:2])
    assert len(tuner.compilations) == 2
    assert all(what.startswith("step 2 × ") and took > 0 for what, took in tuner.compilations)
    fit(tuner, windows)
    assert len(tuner.compilations) == 2
    tuner.validate(windows[:2])
    compiled = len(tuner.compilations)
    tuner.validate(windows)
    assert compiled <= 4 and len(tuner.compilations) == compiled


def test_what_hinders_compilation_is_said_and_the_step_runs(monkeypatch):
    monkeypatch.setattr(compiler, "obstacle", lambda: "there is no compiler")
    tuner = small_tuner(compiled=True)
    assert tuner.notes == ["the step runs eagerly: there is no compiler"]
    tuner.prepare(TrainSettings(), total_steps=1)
    assert np.isfinite(fit(tuner, [packed_window()])[0]["loss"])
    assert tuner.compilations == []
    assert "not asked for" in small_tuner().notes[0]


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


@pytest.mark.parametrize("family", list(FAMILIES))
def test_kernels_laid_side_by_side_are_the_same_kernels_and_no_copies(family):
    causal_lm = small_model(family)
    table = FAMILIES[family]
    config = table.config_of(causal_lm.backbone)
    specs = {spec.name: spec for spec in table.tensors(config)}
    before = {
        name: np.array(spec.variable(causal_lm.backbone).numpy()) for name, spec in specs.items()
    }
    lora = with_lora(causal_lm, family, target_layers=["query"])
    blocks = blocks_of(causal_lm.backbone, specs.values(), table.architecture(config).kinds, lora)
    laid = [lay_out(block) for block in blocks]
    for name, spec in specs.items():
        np.testing.assert_array_equal(
            spec.variable(causal_lm.backbone).numpy(), before[name], err_msg=name
        )
    # As many bytes as the model has: the joined matrices are all that is kept.
    adapter = {id(variable) for variable in lora.variables}
    variables = [v.value for v in causal_lm.backbone.weights if id(v) not in adapter]
    joined = [tensor for tensors in laid for tensor in tensors.values()]
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in variables + joined
    }
    assert sum(storages.values()) == sum(4 * value.size for value in before.values())
    for index, tensors in enumerate(laid):
        for group, targets in GROUPS.items():
            matrices = [
                spec.to_hf(before[spec.name]).T
                for target in targets
                for spec in specs.values()
                if spec.layer == index and spec.target == target
            ]
            np.testing.assert_array_equal(tensors[group].numpy(), np.concatenate(matrices, 1))
    # Assigning, as loading weights does, reaches the matrix that the step reads.
    spec = next(spec for spec in specs.values() if spec.target == "key" and spec.layer == 0)
    spec.variable(causal_lm.backbone).assign(before[spec.name] + 1)
    whole = laid[0]["attention"].numpy()
    assert whole.shape[1] == sum(blocks[0].projections[t].outputs for t in GROUPS["attention"])
    start = blocks[0].projections["query"].outputs
    found = whole[:, start : start + blocks[0].projections["key"].outputs]
    np.testing.assert_array_equal(found, spec.to_hf(before[spec.name] + 1).T)


SEGMENTS = [1, 1, 1, 2, 2, 0, 0, 0]
VISIBLE = {
    None: "x....... xx...... xxx..... ...x.... ...xx... .....x.. .....xx. .....xxx",
    2: "x....... xx...... .xx..... ...x.... ...xx... .....x.. .....xx. ......xx",
}


@pytest.mark.parametrize("window", VISIBLE)
@pytest.mark.parametrize("method", ["masked", "capped"])
def test_tokens_see_their_own_segment_up_to_themselves(method, window):
    attention = Attention(method, 1.0, window, 5.0, len(SEGMENTS))
    other_row = [1] * len(SEGMENTS)
    (mask,) = rows_for(attention, {"segment_ids": torch.tensor([SEGMENTS, other_row])})
    assert mask.dtype == torch.bool and tuple(mask.shape) == (2, 1, 8, 8)
    rows = ["".join("x" if seen else "." for seen in row) for row in mask[0, 0].tolist()]
    assert " ".join(rows) == VISIBLE[window]
    expected = [min(at + 1, window or 8) for at in range(8)]
    assert mask[1, 0].sum(-1).tolist() == expected


AMPERE = SimpleNamespace(device="cuda", cuda="13.0", capability=(8, 0), dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("method", "machine", "numbers"),
    [
        ("flash", {}, {}),
        ("flash", {"dtype": torch.float16, "capability": (9, 0)}, {}),
        ("masked", {"device": "cpu"}, {}),
        ("masked", {"dtype": torch.float32}, {}),
        ("masked", {"capability": (7, 5)}, {}),
        ("masked", {"cuda": None}, {}),
        ("masked", {}, {"head_width": 264}),
        ("masked", {}, {"head_width": 20}),
        ("capped", {}, {"attention_soft_cap": 50.0}),
    ],
)
def test_flash_attention_is_chosen_only_where_it_can_be(method, machine, numbers, monkeypatch):
    there = SimpleNamespace(**vars(AMPERE) | machine)
    monkeypatch.setattr(torch.version, "cuda", there.cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: there.capability)
    model = SimpleNamespace(
        **{"head_width": 256, "attention_soft_cap": None, "query_scale": 0.5} | numbers,
        window_of={"local": 64, "global": None}.get,
    )
    device = torch.device(there.device)
    chosen = choose(model, "local", 128, device, there.dtype)
    assert chosen == Attention(method, 0.5, 64, model.attention_soft_cap, 128)
    if method == "flash":
        micro = {"sequence_starts": torch.tensor([0, 3, 8, 8])}
        assert rows_for(chosen, micro) == (micro["sequence_starts"],)
    # Rows no longer than the window: local blocks are then the same function as global ones.
    local, everywhere = (
        choose(model, kind, 64, device, there.dtype) for kind in ("local", "global")
    )
    assert local == everywhere and local.window is None
