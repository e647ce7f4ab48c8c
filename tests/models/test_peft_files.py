"""Adapters that PEFT wrote, read as ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.errors import AdapterError
from kerasft.models import peft_files
from kerasft.models.families import FAMILIES
from tests.models.conftest import hf_logits, hf_model
from tests.tiny import keras_logits, tiny_causal_lm, tiny_config, tiny_tokens


def peft_folder(family: str, path: Path, **config: Any) -> tuple[Path, Any]:
    """An adapter that PEFT saved, with random B, and its model."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    modules = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    config = {"r": 2, "lora_alpha": 6, "target_modules": modules} | config
    torch.manual_seed(0)
    model = peft.get_peft_model(hf_model(family, path / "base"), peft.LoraConfig(**config)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    # PEFT would ask the Hub whether the base's vocabulary was changed.
    model.save_pretrained(path / "adapter", save_embedding_layers=False)
    return path / "adapter", model


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.parametrize("modules", ["all", "some"])
@pytest.mark.parametrize("family", ["gemma3", "llama3"])
def test_an_adapter_of_pefts_gives_the_same_logits(family, modules, tmp_path):
    from kerasft.models.lora import attach

    chosen = {"target_modules": ["v_proj", "down_proj"]} if modules == "some" else {}
    folder, model = peft_folder(family, tmp_path, lora_dropout=0.1, **chosen)
    assert peft_files.is_peft(folder)
    settings, tensors = peft_files.read_peft(folder, FAMILIES[family], tiny_config(family))
    assert (settings.layout, settings.rank, settings.alpha) == ("peft", 2, 6)
    assert settings.dropout == pytest.approx(0.1)
    assert len(settings.target_layers) == (2 if modules == "some" else 7)
    causal_lm, tokens = tiny_causal_lm(family), tiny_tokens()
    base = keras_logits(causal_lm, tokens)
    attach(causal_lm, FAMILIES[family], settings, seed=0).assign(tensors)
    expected = hf_logits(model, tokens)
    assert np.abs(expected - base).max() > 0.1
    np.testing.assert_allclose(keras_logits(causal_lm, tokens), expected, atol=1e-4)


@pytest.mark.keras
@pytest.mark.once
def test_several_ranks_and_scales_give_the_same_logits_in_one(tmp_path):
    from kerasft.models.lora import attach

    folder, model = peft_folder(
        "gemma3",
        tmp_path,
        rank_pattern={"q_proj": 5, r"layers\.1\.mlp\..*": 3},
        alpha_pattern={"q_proj": 15, "o_proj": 4},
    )
    settings, tensors = peft_files.read_peft(folder, FAMILIES["gemma3"], tiny_config("gemma3"))
    # The config's own scale is 6 / 2; the rank is that of the largest module.
    assert (settings.rank, settings.alpha) == (5, 15)
    block = "decoder_block_0/attention"
    assert tensors[f"{block}/key/a"].shape[1] == len(tensors[f"{block}/key/b"]) == 5
    assert not tensors[f"{block}/key/b"][2:].any() and tensors[f"{block}/key/a"][:, 2:].all()
    causal_lm, tokens = tiny_causal_lm("gemma3"), tiny_tokens()
    attach(causal_lm, FAMILIES["gemma3"], settings, seed=0).assign(tensors)
    np.testing.assert_allclose(keras_logits(causal_lm, tokens), hf_logits(model, tokens), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"r": 3}, "model.layers.0.mlp.down_proj has rank 2, adapter_config.json says 3"),
        ({"rank_pattern": {"q_proj": 4}}, "q_proj has rank 2, adapter_config.json says 4"),
        ({"target_modules": ["q_proj"]}, "v_proj is not among target_modules"),
        ({"target_modules": r".*self_attn\.\w_proj"}, "up_proj is not among target_modules"),
    ],
)
def test_what_peft_would_load_otherwise_is_named(peft_copy, change, fault):
    change_config(peft_copy, **change)
    with pytest.raises(AdapterError) as caught:
        read(peft_copy)
    assert fault in str(caught.value)
    assert fault in "\n".join(peft_files.read_peft_files(peft_copy).faults)


def test_an_adapter_of_another_width_is_named(peft_copy):
    config = tiny_config("llama3") | {"intermediate_dim": 40}
    with pytest.raises(AdapterError, match=r"(?s)\(6\).*gate_proj has A of shape"):
        peft_files.read_peft(peft_copy, FAMILIES["llama3"], config)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_folder("llama3", tmp_path_factory.mktemp("peft"))[0]


@pytest.fixture
def peft_copy(written: Path, tmp_path: Path) -> Path:
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def read(folder: Path) -> Any:
    return peft_files.read_peft(folder, FAMILIES["llama3"], tiny_config("llama3"))


def test_every_kind_that_is_not_read_is_named_at_once(peft_copy):
    change_config(
        peft_copy,
        peft_type="LOHA",
        use_dora=True,
        layers_to_transform=[0],
        target_parameters=["experts"],
        use_rslora=True,
        modules_to_save=["lm_head"],
        bias="all",
        init_lora_weights="pissa_niter_16",
    )
    (peft_copy / "adapter_model.safetensors").unlink()
    (peft_copy / "adapter_model.bin").touch()
    with pytest.raises(AdapterError) as caught:
        read(peft_copy)
    said = str(caught.value)
    assert "(9)" in said
    for fault in (
        "LOHA",
        "use_dora",
        "layers_to_transform",
        "target_parameters",
        "use_rslora",
        "modules_to_save",
        "bias is 'all'",
        "pissa_niter_16",
        ".bin adapters are not read",
    ):
        assert fault in said


def test_tensors_that_have_no_place_are_named(peft_copy):
    from safetensors.numpy import load_file, save_file

    path = peft_copy / "adapter_model.safetensors"
    tensors = load_file(path)
    lonely = next(name for name in tensors if "lora_B" in name)
    tensors["base_model.model.lm_head.lora_A.weight"] = np.zeros((2, 2), np.float32)
    del tensors[lonely]
    save_file(tensors, path)
    with pytest.raises(AdapterError) as caught:
        read(peft_copy)
    assert "lm_head.lora_A" in str(caught.value)
    assert lonely.replace("lora_B", "lora_A") in str(caught.value)
    save_file({}, path)
    with pytest.raises(AdapterError, match="no LoRA tensor was found"):
        read(peft_copy)


def test_damaged_peft_files_are_named(peft_copy):
    config, weights = peft_copy / "adapter_config.json", peft_copy / "adapter_model.safetensors"
    whole = config.read_bytes()
    for content in (b"{", b"[]", b"\xff"):
        config.write_bytes(content)
        with pytest.raises(AdapterError, match=r"adapter_config\.json"):
            read(peft_copy)
    config.write_bytes(whole)
    change_config(
        peft_copy,
        r=None,
        lora_alpha="much",
        rank_pattern={"(": 2},
        alpha_pattern={"q_proj": "8"},
        target_modules=None,
    )
    with pytest.raises(AdapterError) as caught:
        read(peft_copy)
    said = str(caught.value)
    assert "(5)" in said
    for fault in (
        "lora.rank",
        "lora.alpha",
        "rank_pattern: '(' is not a regular expression",
        "alpha '8' of q_proj",
        "target_modules is None",
    ):
        assert fault in said
    config.write_bytes(whole)
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is damaged"):
        read(peft_copy)
