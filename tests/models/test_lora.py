"""Both layouts of LoRA: against KerasHub's own, against PEFT, and merged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from kerasft.errors import AdapterError
from kerasft.models.deltas import delta_of
from kerasft.models.families import FAMILIES, TARGETS
from kerasft.models.families.base import follow
from kerasft.models.lora import Linear, Lora, attach, lora_shapes
from kerasft.recipe import LoraSettings
from tests.models.conftest import hf_logits, hf_model
from tests.tiny import keras_logits, tiny_causal_lm, tiny_config, tiny_tokens

pytestmark = pytest.mark.keras
NAMES = tuple(FAMILIES)
LAYOUTS = ("keras", "peft")


def settings(**changes: Any) -> LoraSettings:
    return LoraSettings(**{"rank": 2, "alpha": 6.0, "target_layers": list(TARGETS)} | changes)


def adapted(family: str, *, moved: bool = True, **changes: Any) -> tuple[Any, Lora]:
    """A tiny model with an adapter whose B is random where `moved`."""
    causal_lm = tiny_causal_lm(family, dtype=changes.pop("dtype", "float32"))
    lora = attach(causal_lm, FAMILIES[family], settings(**changes), seed=0)
    if moved:
        lora.assign(random_b(lora))
    return causal_lm, lora


def random_b(lora: Lora) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    return {
        name: (0.3 * random.standard_normal(value.shape)).astype(np.float32)
        if name.endswith("/b")
        else value
        for name, value in lora.tensors().items()
    }


def delta_at(lora: Lora, family: str, path: str) -> np.ndarray:
    """What merging adds to the kernel at a layer path."""
    specs = FAMILIES[family].tensors(tiny_config(family))
    (spec,) = (spec for spec in specs if spec.name == f"{path}/kernel")
    return delta_of(spec, lora.tensors(), lora.settings)


def layers_of(causal_lm: Any, family: str) -> dict[str, Any]:
    """Every layer that a target names, by canonical path."""
    table = FAMILIES[family]
    return {
        spec.name.removesuffix("/kernel"): follow(
            table.blocks(causal_lm.backbone)[spec.layer], table.targets[spec.target]
        )
        for spec in table.tensors(tiny_config(family))
        if spec.target
    }


def gradients(causal_lm: Any, variables: list[Any], tokens: np.ndarray) -> list[np.ndarray]:
    """∂/∂variables of a fixed random combination of the logits."""
    mix = np.random.default_rng(7).standard_normal((*tokens.shape, tiny_vocabulary(causal_lm)))
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    backbone = causal_lm.backbone

    def objective(hidden: Any) -> Any:
        logits = backbone.token_embedding(hidden, reverse=True)
        return keras.ops.mean(logits * keras.ops.convert_to_tensor(mix.astype(np.float32)))

    if keras.backend.backend() == "torch":
        for variable in variables:
            variable.value.grad = None
        objective(backbone(inputs)).backward()
        return [variable.value.grad.numpy() for variable in variables]
    import jax

    def pure(values: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return objective(backbone(inputs))

    found = jax.jit(jax.grad(pure))([variable.value for variable in variables])
    return [np.asarray(gradient) for gradient in found]


def tiny_vocabulary(causal_lm: Any) -> int:
    return causal_lm.backbone.token_embedding.input_dim


@pytest.mark.parametrize("targets", [["query", "value"], list(TARGETS)], ids=["default", "all"])
@pytest.mark.parametrize("family", ["gemma", "llama3"])
def test_keras_layout_is_kerashubs_own(family, targets):
    ours, lora = adapted(family, target_layers=targets)
    theirs = tiny_causal_lm(family)
    named = layers_of(theirs, family)
    wanted = {path: layer for path, layer in named.items() if path.split("/")[-1] in targets}
    theirs.backbone.enable_lora(2, target_layer_names={layer.name for layer in wanted.values()})
    assert list(wanted) == list(lora.layers)
    tensors = lora.tensors()
    for path, layer in wanted.items():
        layer.lora_kernel_a.assign(tensors[f"{path}/a"])
        layer.lora_kernel_b.assign(tensors[f"{path}/b"])
        layer.lora_alpha = 6.0
    variables = [v for each in wanted.values() for v in (each.lora_kernel_a, each.lora_kernel_b)]
    assert lora.parameters == sum(int(np.prod(v.shape)) for v in theirs.trainable_variables)
    tokens = tiny_tokens()
    base = keras_logits(tiny_causal_lm(family), tokens)
    expected = keras_logits(theirs, tokens)
    assert np.abs(expected - base).max() > 0.1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(keras_logits(ours, tokens), expected, atol=1e-5 * scale)
    for name, mine, reference in zip(
        tensors,
        gradients(ours, lora.variables, tokens),
        gradients(theirs, variables, tokens),
        strict=True,
    ):
        assert np.abs(reference).max() > 0, name
        np.testing.assert_allclose(mine, reference, atol=5e-5 * np.abs(reference).max())


@pytest.mark.parametrize("family", ["gemma3", "llama3"])
def test_peft_layout_is_pefts(family: str, tmp_path: Path):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    twin = peft.get_peft_model(
        hf_model(family, tmp_path),
        peft.LoraConfig(
            r=2,
            lora_alpha=6,
            target_modules=[f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")],
        ),
    ).eval()
    causal_lm, lora = adapted(family, layout="peft")
    assert lora.parameters == sum(p.numel() for p in twin.parameters() if p.requires_grad)
    state = {}
    for spec in FAMILIES[family].tensors(tiny_config(family)):
        if not spec.target:
            continue
        for ours, theirs in (("a", "lora_A"), ("b", "lora_B")):
            values = lora.tensors()[spec.name.replace("/kernel", f"/{ours}")]
            module = f"base_model.model.{spec.hf.removesuffix('.weight')}.{theirs}.default.weight"
            state[module] = torch.from_numpy(values.T.copy())
    left = twin.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and len(state) == 2 * len(lora.layers)
    tokens = tiny_tokens()
    with twin.disable_adapter():
        base = hf_logits(twin, tokens)
    expected = hf_logits(twin, tokens)
    assert np.abs(expected - base).max() > 0.1
    np.testing.assert_allclose(keras_logits(causal_lm, tokens), expected, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", NAMES)
def test_kernel_plus_delta_is_the_adapted_model(family, layout):
    live, lora = adapted(family, layout=layout)
    merged, tokens = tiny_causal_lm(family), tiny_tokens()
    base = keras_logits(merged, tokens)
    for path, layer in layers_of(merged, family).items():
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        delta = delta_at(lora, family, path)
        assert delta.shape == kernel.shape and np.abs(delta).max() > 0
        layer.kernel.assign(kernel + delta)
    expected = keras_logits(live, tokens)
    assert np.abs(expected - base).max() > 0.1
    np.testing.assert_allclose(keras_logits(merged, tokens), expected, atol=2e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_base_is_there_unchanged_when_disabled_and_before_training(layout):
    tokens = tiny_tokens()
    base = keras_logits(tiny_causal_lm("gemma3"), tokens)
    fresh, _ = adapted("gemma3", layout=layout, moved=False)
    np.testing.assert_array_equal(keras_logits(fresh, tokens), base)
    causal_lm, lora = adapted("gemma3", layout=layout)
    with lora.disabled():
        np.testing.assert_array_equal(keras_logits(causal_lm, tokens), base)
        assert not lora.is_active
    assert np.abs(keras_logits(causal_lm, tokens) - base).max() > 0.1
    with pytest.raises(ZeroDivisionError), lora.disabled():
        raise ZeroDivisionError
    assert lora.is_active


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", NAMES)
def test_every_target_adapts_every_block_and_freezes_the_rest(family, layout):
    causal_lm, lora = adapted(family, layout=layout, dtype="bfloat16", moved=False)
    blocks = tiny_config(family)["num_layers"]
    assert len(lora.layers) == blocks * len(TARGETS)
    assert {tuple(path.split("/")[::2]) for path in lora.layers} == {
        (f"decoder_block_{index}", target) for index in range(blocks) for target in TARGETS
    }
    trained = causal_lm.backbone.trainable_variables
    assert {id(variable) for variable in trained} == {id(variable) for variable in lora.variables}
    assert {keras.backend.standardize_dtype(v.dtype) for v in lora.variables} == {"float32"}
    kept = [v for v in causal_lm.backbone.variables if not any(v is x for x in lora.variables)]
    assert {keras.backend.standardize_dtype(v.dtype) for v in kept} == {"bfloat16"}
    assert len(kept) == len(FAMILIES[family].tensors(tiny_config(family)))
    inputs = {"token_ids": tiny_tokens(), "padding_mask": np.ones_like(tiny_tokens())}
    assert keras.backend.standardize_dtype(causal_lm.backbone(inputs).dtype) == "bfloat16"
    for path, layer in lora.layers.items():
        a, b = lora_shapes(layer.linear, layout, 2)
        assert tuple(layer.a.shape) == a and tuple(layer.b.shape) == b, path


def test_parameter_counts_of_gemma_2b():
    """Rank 4 on query and value: 1,363,968 as KerasHub counts them, 460,800 as PEFT does."""
    query = Linear("btd", "ndh", "btnh", (8, 2048, 256))
    value = Linear("bsd", "kdh", "bskh", (1, 2048, 256))
    for layout, expected in (("keras", 1_363_968), ("peft", 460_800)):
        shapes = [shape for each in (query, value) for shape in lora_shapes(each, layout, 4)]
        assert 18 * sum(int(np.prod(shape)) for shape in shapes) == expected


def test_initial_a_is_drawn_as_each_library_draws_it():
    """Keras: He uniform over the fan-in that Keras itself computes. PEFT: 1 / √in."""
    _, lora = adapted("gemma", rank=64, moved=False)
    for path, layer in lora.layers.items():
        drawn = keras.ops.convert_to_numpy(
            keras.initializers.HeUniform(seed=1)(tuple(layer.a.shape))
        )
        found = lora.tensors()[f"{path}/a"]
        assert np.abs(found).max() == pytest.approx(np.abs(drawn).max(), rel=0.02), path
        assert found.std() == pytest.approx(drawn.std(), rel=0.05), path
        assert not lora.tensors()[f"{path}/b"].any()
    _, lora = adapted("gemma", rank=64, layout="peft", moved=False)
    for path, layer in lora.layers.items():
        found, limit = lora.tensors()[f"{path}/a"], layer.a.shape[0] ** -0.5
        assert np.abs(found).max() == pytest.approx(limit, rel=0.02), path
        assert found.std() == pytest.approx(limit / 3**0.5, rel=0.05), path


def test_a_depends_on_path_and_seed_alone():
    """The constant is the same on both backends."""
    path = "decoder_block_1/attention/value"
    _, all_targets = adapted("gemma", moved=False)
    _, one_target = adapted("gemma", target_layers=["value"], moved=False)
    found = all_targets.tensors()[f"{path}/a"]
    np.testing.assert_array_equal(one_target.tensors()[f"{path}/a"], found)
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "22b8169ae7552a77"
    other = all_targets.tensors()["decoder_block_0/attention/value/a"]
    assert np.abs(found - other).max() > 0.01
    reseeded = attach(tiny_causal_lm("gemma"), FAMILIES["gemma"], settings(), seed=1)
    assert np.abs(found - reseeded.tensors()[f"{path}/a"]).max() > 0.01


def test_alpha_scales_the_product():
    _, lora = adapted("gemma")
    _, unscaled = adapted("gemma", alpha=None)
    path = "decoder_block_0/ffw/down"
    assert lora.settings.scale == 3 and unscaled.settings.scale == 1
    expected = 3 * delta_at(unscaled, "gemma", path)
    np.testing.assert_allclose(delta_at(lora, "gemma", path), expected, rtol=1e-6)


def test_the_model_itself_drops_nothing():
    """Dropout is the training step's, so that decoding and export see the whole adapter."""
    dropping, lora = adapted("gemma", dropout=0.5)
    plain, _ = adapted("gemma")
    assert {layer.dropout for layer in lora.layers.values()} == {0.5}
    tokens = tiny_tokens()
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    for training in (False, True):
        found, expected = (
            keras.ops.convert_to_numpy(
                keras.ops.stop_gradient(model.backbone(inputs, training=training))
            )
            for model in (dropping, plain)
        )
        np.testing.assert_array_equal(found, expected)
    assert not [v for v in dropping.backbone.variables if "seed" in v.path and "lora" in v.path]


def test_dropout_of_a_layer_is_seeded_by_its_path():
    _, lora = adapted("gemma", dropout=0.5, target_layers=["query", "value"])
    seeds = {path: layer.path_seed for path, layer in lora.layers.items()}
    assert len(set(seeds.values())) == len(seeds) == 4
    assert seeds["decoder_block_1/attention/value"] == 4022183904
    assert all(0 <= seed < 2**32 for seed in seeds.values())


def test_unknown_targets_are_refused_before_anything_changes():
    causal_lm = tiny_causal_lm("gemma")
    wrong = SimpleNamespace(target_layers=["query", "q_proj", "lm_head"])
    with pytest.raises(AdapterError, match=r"q_proj, lm_head.*query, key, value"):
        attach(causal_lm, FAMILIES["gemma"], wrong, seed=0)
    assert all(variable.trainable for variable in causal_lm.variables)


def test_assigning_collects_every_fault_and_changes_nothing():
    _, lora = adapted("gemma")
    before, wrong = lora.tensors(), lora.tensors()
    wrong["decoder_block_0/attention/query/a"] = np.zeros((1, 1), np.float32)
    del wrong["decoder_block_1/ffw/down/b"]
    wrong["decoder_block_9/ffw/down/b"] = np.zeros((2, 32), np.float32)
    wrong["decoder_block_0/ffw/up/b"] = np.ones_like(wrong["decoder_block_0/ffw/up/b"])
    with pytest.raises(AdapterError) as caught:
        lora.assign(wrong)
    said = str(caught.value)
    assert "(3)" in said
    for fault in (
        "block_1/ffw/down/b is missing",
        "block_9/ffw/down/b belongs",
        "query/a has shap",
    ):
        assert fault in said
    for name, value in lora.tensors().items():
        np.testing.assert_array_equal(value, before[name])
