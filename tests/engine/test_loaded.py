"""A base with its adapter put on again from the files of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.data.prompts import template_for
from kerasft.engine.loaded import load_bare, start_adapter, with_adapter
from kerasft.errors import AdapterError
from kerasft.models import adapter as adapters
from kerasft.models.families import FAMILIES
from kerasft.models.lora import attach
from kerasft.models.sources import load_base
from kerasft.recipe import LoraSettings, PromptSettings
from tests.engine.tuning import random_b

pytestmark = pytest.mark.keras

SETTINGS = LoraSettings(layout="peft", rank=2, alpha=4, target_layers=["query", "value", "down"])
TOKENS = np.random.default_rng(2).integers(4, 90, (1, 12)).astype(np.int32)


@pytest.fixture(scope="module")
def trained(tiny_gemma3: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """An adapter folder, the live model that it was written from, and its base."""
    base = load_base(str(tiny_gemma3), dtype="float32")
    template = template_for(PromptSettings(template="gemma"), "text_to_sql")
    lora = attach(base.causal_lm, base.family, SETTINGS, seed=0)
    lora.assign(random_b(lora.tensors()))
    info = adapters.AdapterInfo(
        preset=str(tiny_gemma3),
        base_id=base.base_id,
        fingerprint=base.fingerprint,
        family=base.family.name,
        dtype="float32",
        task="text_to_sql",
        template=template.to_dict(),
        lora=SETTINGS,
    )
    folder = tmp_path_factory.mktemp("run") / "adapter"
    adapters.save(folder, lora.tensors(), info)
    return folder, lora, base


def live_logits(lora: Any, base: Any) -> np.ndarray:
    from kerasft.engine.decode import Decoder

    return Decoder(base.causal_lm, base.family, lora).sequence_logits(TOKENS)


def test_the_loaded_model_is_the_trained_one(trained, tiny_gemma3):
    folder, lora, base = trained
    loaded = with_adapter(folder)
    expected = live_logits(lora, base)
    np.testing.assert_array_equal(loaded.logits(TOKENS), expected)
    template = loaded.template
    bare = load_bare(str(tiny_gemma3), template, "text_to_sql", dtype="float32")
    np.testing.assert_array_equal(loaded.base_logits(TOKENS), bare.logits(TOKENS))
    np.testing.assert_array_equal(bare.base_logits(TOKENS), bare.logits(TOKENS))
    assert np.abs(expected - bare.logits(TOKENS)).max() > 0.1
    assert template == template_for(PromptSettings(template="gemma"), "text_to_sql")
    name = "decoder_block_0/attention/value/kernel"
    a, b = (lora.tensors()[name.replace("kernel", part)] for part in "ab")
    (spec,) = (s for s in base.family.tensors(base.config) if s.name == name)
    np.testing.assert_allclose(loaded.delta(name), spec.from_hf(2 * (a @ b).T), rtol=1e-6)
    assert loaded.base_array(spec).dtype == "float32"
    assert loaded.delta("decoder_block_0/attention/key/kernel") is None
    assert loaded.delta("final_norm/scale") is None and bare.delta(name) is None


@pytest.mark.once
def test_another_base_is_refused(trained, tmp_path):
    folder, _, _ = trained
    info = replace(adapters.read_info(folder), fingerprint="0" * 64)
    adapters.save(tmp_path / "adapter", adapters.read_tensors(folder), info)
    with pytest.raises(AdapterError, match="belongs to another base"):
        with_adapter(tmp_path / "adapter")


def fresh(base: Any, **changes: Any) -> Any:
    """A new adapter of some settings, for the same kind of base."""
    again = load_base(base.preset, dtype="float32")
    return again, attach(again.causal_lm, again.family, SETTINGS.model_copy(update=changes), seed=1)


@pytest.mark.once
@pytest.mark.parametrize("whole_run", [False, True])
def test_training_starts_from_an_adapter_or_a_run(trained, whole_run):
    folder, lora, base = trained
    again, started = fresh(base)
    start_adapter(again, started, str(folder.parent if whole_run else folder))
    for name, value in lora.tensors().items():
        np.testing.assert_array_equal(started.tensors()[name], value)


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "keras"}, "has layout peft and scale 2, the recipe has keras and 2"),
        ({"alpha": 2.0}, "has layout peft and scale 2, the recipe has peft and 1"),
        ({"rank": 4, "alpha": 8.0}, "query/a has shape"),
        ({"target_layers": ["query"]}, "value/a belongs to no layer"),
        ({"target_layers": [*SETTINGS.target_layers, "up"]}, "up/a is missing"),
    ],
)
def test_an_adapter_of_other_settings_is_no_start(trained, changes, said):
    folder, _, base = trained
    again, started = fresh(base, **changes)
    before = started.tensors()
    with pytest.raises(AdapterError, match=said):
        start_adapter(again, started, str(folder))
    for name, value in started.tensors().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.once
def test_a_peft_folder_is_a_start(trained, tmp_path):
    """Written here by hand in PEFT's names and transposed layout."""
    import json

    from safetensors.numpy import save_file

    _, lora, base = trained
    stored = {}
    for spec in FAMILIES["gemma3"].tensors(base.config):
        for ours, theirs in (("a", "lora_A"), ("b", "lora_B")):
            value = lora.tensors().get(spec.name.replace("/kernel", f"/{ours}"))
            if value is not None:
                module = spec.hf.removesuffix(".weight")
                name = f"base_model.model.{module}.{theirs}.weight"
                stored[name] = np.ascontiguousarray(value.T)
    assert len(stored) == 2 * len(lora.layers)
    save_file(stored, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    config["target_modules"] = ["q_proj", "v_proj", "down_proj"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    again, started = fresh(base)
    start_adapter(again, started, str(tmp_path))
    np.testing.assert_array_equal(live_logits(started, again), live_logits(lora, base))
