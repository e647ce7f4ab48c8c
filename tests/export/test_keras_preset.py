"""A run's KerasHub preset is the trained model, for KerasHub and for kerasft."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.data.tokens import TokenizerJson
from kerasft.errors import ExportError, ModelError
from kerasft.export.keras import promised_keras, stored_keras, write_keras
from kerasft.export.merging import Merger
from kerasft.export.query_scale import as_kerashub_scales
from kerasft.export.tensor_proof import compare_tensors
from kerasft.export.verify import verify_folder
from kerasft.models.families import FAMILIES
from kerasft.models.fingerprint import array_reader, fingerprint
from kerasft.models.opened import keras_tokenizer, open_path
from kerasft.models.sources import open_base
from tests.export.live import (
    live_model,
    llama_tokenizer_json,
    make_run,
    tiny_weights,
)
from tests.export.spoilers import SPOILERS
from tests.tiny import tiny_tokens

NAMES = tuple(FAMILIES)


def proved(folder: Path, weights: Any) -> list[str]:
    """Every fault that is found without a model."""
    stored = stored_keras(folder, weights)
    _, faults = compare_tensors(promised_keras(folder, weights).weights, stored)
    return stored.faults() + faults


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_tensor_is_stored_as_it_was_trained(tmp_path, name, dtype):
    weights = tiny_weights(name, base_dtype="bfloat16")
    written = write_keras(weights, tmp_path, dtype=dtype)
    assert proved(tmp_path, weights) == []
    assert stored_keras(tmp_path, weights).dtype == dtype
    targets = [spec for spec in weights.family.tensors(weights.config) if spec.target]
    assert written.merged == len(targets)
    assert written.parameters == weights.family.parameters(weights.config)
    assert written.files["model.weights.h5"] > written.parameters * (4 if dtype == "float32" else 2)


@pytest.mark.parametrize("tied", [True, False])
def test_shards_hold_whole_layers_and_the_same_tensors(tmp_path, tied):
    weights = tiny_weights("llama3", tied=tied)
    written = write_keras(weights, tmp_path, dtype="bfloat16", shard_bytes=40_000)
    shards = [name for name in written.files if name.endswith(".h5")]
    assert shards[0] == "model_00000.weights.h5" and len(shards) > 1
    assert proved(tmp_path, weights) == []
    index = json.loads((tmp_path / "model.weights.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    assert index["metadata"]["total_size"] == 2 * written.parameters


@pytest.mark.parametrize("name", ["gemma", "gemma3", "llama3"])
def test_kerasft_reads_its_own_preset_as_the_merged_model(tmp_path, name):
    """By config, fingerprint and tokenizer: it can be `model.preset` of another run."""
    weights = tiny_weights(name, tied=True if name == "llama3" else None)
    (tmp_path / "preset").mkdir()
    write_keras(weights, tmp_path / "preset", dtype="bfloat16")
    opened, base_id = open_base(str(tmp_path / "preset"))
    assert base_id == "preset" and opened.family is weights.family
    assert opened.config == weights.config
    merged = {spec.name: Merger(weights, "bfloat16").keras(spec) for spec in opened.specs}
    expected = fingerprint(opened.specs, array_reader(lambda spec: merged[spec.name]))
    assert opened.fingerprint("bfloat16") == expected
    tokenizer = opened.load_tokenizer()
    text = "SELECT 12345 FROM naïve <start_of_turn>\n\n  two"
    assert tokenizer.encode(text) == weights.tokenizer.encode(text)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (
        weights.tokenizer.bos_id,
        weights.tokenizer.eos_id,
    )


@pytest.mark.parametrize("name", ["gemma2", "llama3"])
@pytest.mark.parametrize("spoiler", sorted(SPOILERS))
def test_a_wrong_preset_is_found(tmp_path, name, spoiler):
    weights = tiny_weights(name)
    try:
        write_keras(SPOILERS[spoiler](weights), tmp_path, dtype="float32")
    except ExportError as error:
        assert spoiler == "wrong_eos" and "<eos>" in str(error)
        return
    assert proved(tmp_path, weights)


def _change(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    contents = json.loads((folder / name).read_text())
    change(contents)
    (folder / name).write_text(json.dumps(contents))


def _swap_two_kernels(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "model.weights.h5", "a") as file:
        block = file["layers/gemma_decoder_block_1"]
        block.move("gating_ffw", "aside")
        block.move("gating_ffw_2", "gating_ffw")
        block.move("aside", "gating_ffw_2")


def _lose_a_norm(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/gemma_decoder_block_1/post_ffw_norm"]


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "soft cap lost": (
        lambda folder: _change(
            folder, "config.json", lambda each: each["config"].update(final_logit_soft_cap=None)
        ),
        "config.json gives final_logit_soft_cap = None; it should be 3.0",
    ),
    "another window in the task": (
        lambda folder: _change(
            folder,
            "task.json",
            lambda each: each["config"]["backbone"]["config"].update(sliding_window_size=9),
        ),
        "task.json gives sliding_window_size = 9; it should be 8",
    ),
    "no backbone in the task": (
        lambda folder: _change(folder, "task.json", lambda each: each["config"].pop("backbone")),
        "task.json names no backbone",
    ),
    "another family": (
        lambda folder: _change(
            folder, "config.json", lambda each: each["config"].update(use_post_attention_norm=False)
        ),
        "config.json is of the family gemma; the model is gemma2",
    ),
    "gate and up swapped": (_swap_two_kernels, "decoder_block_1/ffw/gate/kernel: "),
    "a norm lost": (_lose_a_norm, "post_ffw_norm/scale is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_changed_in_a_preset_afterwards_is_found(tmp_path, damage):
    weights = tiny_weights("gemma2")
    write_keras(weights, tmp_path, dtype="float32")
    spoil, said = DAMAGES[damage]
    spoil(tmp_path)
    assert any(said in fault for fault in proved(tmp_path, weights)), proved(tmp_path, weights)


def test_queries_carry_the_scale_that_kerashub_leaves_out():
    """By kernel where they are not normalised, else by the norm; both give the same product."""
    weights = tiny_weights("gemma2")
    scaled = as_kerashub_scales(weights)
    assert scaled.config == weights.config | {"query_head_dim_normalize": True}
    query = "decoder_block_1/attention/query/kernel"
    np.testing.assert_allclose(scaled.delta(query), weights.delta(query) * 2**0.5, rtol=1e-6)
    third = tiny_weights("gemma3")
    assert as_kerashub_scales(third) is third
    config = third.config | {"query_head_dim_normalize": False}
    scaled = as_kerashub_scales(replace(third, config=config))
    (spec,) = (
        s for s in third.family.tensors(config) if s.name == "decoder_block_1/query_norm/scale"
    )
    np.testing.assert_allclose(
        1 + scaled.base_array(spec), (1 + third.base_array(spec)) * 2**0.5, rtol=1e-6
    )
    np.testing.assert_array_equal(scaled.delta(query), third.delta(query))


def test_stop_tokens_that_kerashub_does_not_know_are_told(tmp_path):
    notes = {}
    for name in NAMES:
        (tmp_path / name).mkdir()
        written = write_keras(tiny_weights(name), tmp_path / name, dtype="float32")
        notes[name] = " ".join(written.notes)
    assert "stop_token_ids=(1, 5)" in notes["gemma"] and "stop_token_ids" in notes["gemma2"]
    assert "stop_token_ids" not in notes["gemma3"] + notes["llama3"]
    assert "queries" in notes["gemma2"] and "queries" not in notes["gemma"]


def test_float16_is_refused_where_it_overflows(tmp_path):
    with pytest.raises(ExportError, match="bfloat16"):
        write_keras(tiny_weights("gemma3"), tmp_path, dtype="float16")


def test_llama_ends_with_the_token_that_it_was_trained_with(tmp_path):
    begin, end = "<|begin_of_text|>", "<|eot_id|>"
    weights = tiny_weights("llama3")
    instruct = replace(weights, tokenizer=TokenizerJson(llama_tokenizer_json(), begin, end))
    write_keras(instruct, tmp_path, dtype="float32")
    assert keras_tokenizer(tmp_path).eos_id == instruct.tokenizer.eos_id
    assert proved(tmp_path, instruct) == []
    assert any("eos_id" in fault for fault in proved(tmp_path, weights))


def test_a_vocabulary_that_kerashub_cannot_hold_is_refused(tmp_path):
    contents = llama_tokenizer_json().replace(b"<|start_header_id|>", b"<|another_mark|>")
    tokenizer = TokenizerJson(contents, "<|begin_of_text|>", "<|end_of_text|>")
    with pytest.raises(ExportError, match="start_header_id"):
        write_keras(replace(tiny_weights("llama3"), tokenizer=tokenizer), tmp_path, dtype="float32")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncated", "cannot be read"),
        ("link", "is a link"),
        ("external", "plain data set"),
        ("shape", "expected shape"),
        ("uint8", "quantised as uint8"),
        ("no weights", "found neither"),
    ],
)
def test_a_damaged_preset_is_refused_before_a_value_is_read(tmp_path, damage, said):
    import h5py

    write_keras(tiny_weights("gemma"), tmp_path, dtype="float32")
    file = tmp_path / "model.weights.h5"
    group = "layers/gemma_decoder_block_1/ffw_linear/vars"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:3000])
    elif damage == "no weights":
        file.unlink()
    else:
        with h5py.File(file, "a") as store:
            del store[f"{group}/0"]
            if damage == "link":
                del store[group]
                store[group] = h5py.ExternalLink("/etc/hostname", "/")
            elif damage == "external":
                store.create_dataset(
                    f"{group}/0", (48, 32), "f4", external=[("/etc/hostname", 0, 48 * 32 * 4)]
                )
            else:
                shape = (48, 31) if damage == "shape" else (48, 32)
                kind = "uint8" if damage == "uint8" else "f4"
                store[f"{group}/0"] = np.zeros(shape, kind)
    with pytest.raises(ModelError, match=said):
        open_path(tmp_path)


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.parametrize("name", ["gemma", "gemma3", "llama3"])
def test_the_configs_are_what_kerashub_writes_itself(tmp_path, name):
    """But for what it forgets: the day a release writes another form, this says so."""
    from kerasft.models.hub import keras_hub

    hub = keras_hub().models
    weights = tiny_weights(name)
    (tmp_path / "ours").mkdir()
    write_keras(weights, tmp_path / "ours", dtype="bfloat16")
    causal_lm = weights.family.build(weights.config, "bfloat16")
    tokenizer = hub.Tokenizer.from_preset(str(tmp_path / "ours"))
    if name == "gemma3":  # its preprocessor asks for TensorFlow
        causal_lm.backbone.save_to_preset(str(tmp_path / "theirs"))
        tokenizer.save_to_preset(str(tmp_path / "theirs"))
    else:
        preprocessor = getattr(hub, f"{weights.family.causal_lm_class}Preprocessor")(tokenizer)
        task = type(causal_lm)(backbone=causal_lm.backbone, preprocessor=preprocessor)
        task.save_to_preset(str(tmp_path / "theirs"))
    compared = 0
    for theirs in (tmp_path / "theirs").rglob("*.json"):
        ours = json.loads((tmp_path / "ours" / theirs.relative_to(tmp_path / "theirs")).read_text())
        found = json.loads(theirs.read_text())
        if theirs.name == "metadata.json":
            assert ours.keys() == found.keys()
            assert ours["parameter_count"] == found["parameter_count"]
            continue
        compared += 1
        assert _comparable(ours) == _comparable(found), theirs.name
    assert compared == (2 if name == "gemma3" else 5 if name == "llama3" else 4)


def _comparable(value: Any) -> Any:
    """Without the numbers of names, the order of sets, and what KerasHub leaves out."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key != "tie_word_embeddings"}
        return {
            key: each.rstrip("0123456789").rstrip("_") if key == "name" else _comparable(each)
            for key, each in kept.items()
        }
    return sorted(value) if isinstance(value, list) else value


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.parametrize("name", ["gemma2", "llama3"])
def test_kerashub_computes_the_live_logits_from_shards(tmp_path, name):
    """Gemma 2's queries carry their scale; Llama's embeddings are tied, as KerasHub forgets."""
    import keras

    from kerasft.models.hub import keras_hub

    model = live_model(name, base_dtype="bfloat16", tied=True if name == "llama3" else None)
    write_keras(model, tmp_path, dtype="float32", shard_bytes=40_000)
    loaded = keras_hub().models.CausalLM.from_preset(
        str(tmp_path), dtype="float32", preprocessor=None
    )
    assert type(loaded).__name__ == model.family.causal_lm_class
    tokens = tiny_tokens()
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    hidden = keras.ops.convert_to_tensor(loaded.backbone.predict_on_batch(inputs))
    found = keras.ops.convert_to_numpy(loaded.backbone.token_embedding(hidden, reverse=True))
    np.testing.assert_allclose(found, model.logits(tokens), atol=1e-4)


# Without the mark `keras`: on JAX, test_matrix.py runs this reader in the test's process.
def test_kerashub_proves_a_preset_in_a_process_of_its_own(tmp_path, backend):
    model = live_model("gemma3")
    write_keras(model, tmp_path, dtype="float32")
    verification = verify_folder(model, tmp_path, live=lambda: model, backend=backend)
    assert verification.faults == []
    assert (verification.format, verification.method) == ("keras", "logits and tensors")
    assert verification.comparison.largest_difference < 1e-4
    assert verification.greedy["equal"] == verification.greedy["prompts"] == 3
    assert verification.tokenizer == {"texts": 12, "equal": 12}


@pytest.mark.keras
@pytest.mark.slow
def test_a_run_is_exported_and_its_preset_is_the_base_of_another(tmp_path, tiny_gemma3, backend):
    from kerasft.export import export_run

    run = make_run(tmp_path / "run", str(tiny_gemma3), dtype="float32")
    first = export_run(run, "keras", tmp_path / "preset", backend=backend)
    again = make_run(tmp_path / "again", str(first.folder), dtype="float32")
    second = export_run(again, "keras", tmp_path / "second", backend=backend)
    assert first.verification.status == second.verification.status == "passed"
    assert second.verification.base_id == "preset"
    assert second.verification.fingerprint != first.verification.fingerprint


@pytest.mark.keras
@pytest.mark.slow
def test_a_user_with_tensorflow_loads_the_whole_task(tmp_path, backend):
    """Gemma 3's preprocessor needs it; here the texts go in and come out."""
    pytest.importorskip("tensorflow_text")
    write_keras(tiny_weights("gemma3"), tmp_path, dtype="float32")
    program = (
        "import keras_hub, sys\n"
        "model = keras_hub.models.CausalLM.from_preset(sys.argv[1], dtype='float32')\n"
        "model.compile(sampler='greedy')\n"
        "print(repr(model.generate('The capital', max_length=12)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The capital" in done.stdout
