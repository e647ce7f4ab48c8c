"""The files of a Hugging Face folder, written and read back without a model."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from kerasft.errors import ExportError
from kerasft.export.hf import stored_hf, write_hf
from kerasft.export.safetensors_writer import numpy_dtype
from tests.export.live import tiny_weights


def written(folder, name):
    return json.loads((folder / name).read_text("utf-8"))


@pytest.mark.parametrize("layout", ["keras", "peft"])
def test_every_tensor_is_base_plus_delta_in_float32_cast_once(tmp_path, layout):
    weights = tiny_weights("gemma3", base_dtype="bfloat16", layout=layout)
    result = write_hf(weights, tmp_path, dtype="bfloat16")
    tensors = load_file(tmp_path / "model.safetensors")
    specs = {spec.hf: spec for spec in weights.family.tensors(weights.config)}
    assert tensors.keys() == specs.keys()
    for name, spec in specs.items():
        whole = weights.base_array(spec).astype(np.float32)
        if spec.target:
            whole = whole + weights.delta(spec.name)
        expected = spec.to_hf(whole).astype(numpy_dtype("bfloat16"))
        assert (tensors[name] == expected).all(), name
    targets = len(weights.family.targets) * weights.config["num_layers"]
    assert (result.merged, result.tensors) == (targets, len(specs))
    assert result.parameters == sum(array.size for array in tensors.values())
    assert result.files.keys() == {path.name for path in tmp_path.iterdir()}


def test_a_float32_base_trained_in_bfloat16_is_rounded_before_the_delta_is_added(tmp_path):
    """What was trained on is the rounded base, whatever the dtype of the export."""
    weights = tiny_weights("gemma", base_dtype="bfloat16")
    write_hf(weights, tmp_path, dtype="float32")
    spec = weights.family.tensors(weights.config)[0]
    found = load_file(tmp_path / "model.safetensors")[spec.hf]
    rounded = weights.arrays[spec.name].astype(numpy_dtype("bfloat16")).astype(np.float32)
    assert (found == spec.to_hf(rounded)).all()
    assert (found != spec.to_hf(weights.arrays[spec.name])).any()


@pytest.mark.parametrize(("family", "tied"), [("gemma", None), ("llama3", True), ("llama3", False)])
def test_a_tied_embedding_is_one_tensor(tmp_path, family, tied):
    write_hf(tiny_weights(family, tied=tied), tmp_path, dtype="float32")
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "model.embed_tokens.weight" in names
    assert ("lm_head.weight" in names) == (tied is False)
    assert written(tmp_path, "config.json")["tie_word_embeddings"] == (tied is not False)


def test_both_stop_ids_and_the_turns_of_the_template_are_written(tmp_path):
    weights = tiny_weights("gemma3")
    write_hf(weights, tmp_path, dtype="float32")
    stops = [weights.tokenizer.eos_id, weights.tokenizer.special_ids["<end_of_turn>"]]
    for name in ("config.json", "generation_config.json"):
        assert written(tmp_path, name)["eos_token_id"] == stops
        assert written(tmp_path, name)["bos_token_id"] == 2
    assert written(tmp_path, "config.json")["architectures"] == ["Gemma3ForCausalLM"]
    assert (tmp_path / "chat_template.jinja").read_text() == weights.template.chat_template()


def test_a_template_without_turns_stops_at_eos_and_has_no_chat_template(tmp_path):
    write_hf(tiny_weights("gemma", template="instruction"), tmp_path, dtype="float32")
    assert written(tmp_path, "generation_config.json")["eos_token_id"] == [1]
    assert not (tmp_path / "chat_template.jinja").exists()


def test_float16_is_refused_where_it_overflows(tmp_path):
    with pytest.raises(ExportError, match="--dtype bfloat16"):
        write_hf(tiny_weights("gemma3"), tmp_path, dtype="float16")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError, match=r"do not fit float16 \(14\):") as raised:
        write_hf(tiny_weights("llama3", size=1e7), tmp_path, dtype="float16")
    assert "decoder_block_0/attention/query/kernel: " in str(raised.value)
    assert "of 1024 values are not finite" in str(raised.value)


def test_a_delta_of_another_shape_is_refused(tmp_path):
    class Short:
        def __getattr__(self, name):
            return getattr(weights, name)

        def delta(self, name):
            delta = weights.delta(name)
            return None if delta is None else delta[..., :-1]

    weights = tiny_weights("gemma")
    with pytest.raises(ExportError, match=r"expected a delta of shape \(4, 32, 16\)"):
        write_hf(Short(), tmp_path, dtype="float32")


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3", "llama3"])
def test_what_is_read_back_is_what_was_written_and_its_config_is_the_models(tmp_path, family):
    weights = tiny_weights(family)
    write_hf(weights, tmp_path, dtype="float32", shard_bytes=60_000)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    stored = stored_hf(tmp_path, weights)
    assert stored.faults() == [] and stored.dtype == "float32"
    for spec in weights.family.tensors(weights.config):
        delta = weights.delta(spec.name)
        expected = weights.base_array(spec) + (0 if delta is None else delta)
        assert (stored.tensor(spec) == expected).all() and stored.dtype_of(spec) == "float32"


def test_settings_and_tensors_that_are_not_the_models_are_named(tmp_path):
    weights = tiny_weights("gemma2")
    write_hf(weights, tmp_path, dtype="float32")
    config = written(tmp_path, "config.json")
    without_caps = config | {"final_logit_softcapping": None, "sliding_window": 4}
    (tmp_path / "config.json").write_text(json.dumps(without_caps))
    faults = stored_hf(tmp_path, weights).faults()
    assert len(faults) == 2
    assert "final_logit_soft_cap = None; it was trained with 3.0" in faults[0] + faults[1]
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "gemma"}))
    assert "model_type 'gemma'; the model is gemma2" in stored_hf(tmp_path, weights).faults()[0]
    (tmp_path / "config.json").write_text(json.dumps(config))
    fewer = dataclasses.replace(weights, config=weights.config | {"num_layers": 2})
    faults = stored_hf(tmp_path, fewer).faults()
    assert "num_layers = 3; it was trained with 2" in faults[0]
    assert "tensors that the model does not have: model.layers.2." in faults[1]
