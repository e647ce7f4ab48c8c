"""The step on torch, compiled and eager."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine import compiler, torch_decoder
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.torch_product import Multiplier
from kerasft.recipe import TrainSettings
from tests.engine.tuning import (
    fit,
    small_model,
    small_tuner,
    tuner_on,
    uneven_examples,
    windows_of,
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


def test_ten_steps_in_tiles_are_ten_plain_steps(monkeypatch):
    """Rematerialised in 2, 4 and 5 tiles, the last of which is smaller; with dropout."""
    windows = windows_of(uneven_examples(24), 3, 1, packing=True, sequence_length=64)
    windows = [windows[step % len(windows)] for step in range(10)]
    assert (windows[0]["token_ids"].size % 2, windows[0]["token_ids"].size % 5) == (0, 2)

    def losses(tiles: int) -> list[float]:
        monkeypatch.setattr(torch_decoder, "_TILES", tiles)
        tuner = tuner_on(small_model("gemma"), "gemma", remat=tiles > 1, dropout=0.2)
        tuner.prepare(TrainSettings(learning_rate=1e-2), total_steps=len(windows))
        return [line["loss"] for line in fit(tuner, windows)]

    plain = losses(1)
    assert plain[0] - plain[-1] > 0.1
    for tiles in (2, 4, 5):
        np.testing.assert_allclose(losses(tiles), plain, rtol=1e-5, err_msg=f"{tiles} tiles")


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
