"""The files of an exported folder, read without transformers."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from kerasft.errors import ExportError
from kerasft.export.hf import write_hf
from kerasft.export.safetensors_writer import numpy_dtype
from tests.export.live import live_model

pytestmark = pytest.mark.keras


def written(folder, name):
    return json.loads((folder / name).read_text("utf-8"))


def test_every_tensor_is_base_plus_delta_in_float32_cast_once(tmp_path):
    import keras

    model = live_model("gemma3", base_dtype="bfloat16")
    result = write_hf(model, tmp_path, dtype="bfloat16")
    tensors = load_file(tmp_path / "model.safetensors")
    specs = {spec.hf: spec for spec in model.family.tensors(model.config)}
    assert tensors.keys() == specs.keys()
    for name, spec in specs.items():
        base = keras.ops.convert_to_numpy(spec.variable(model.causal_lm.backbone))
        delta = model.delta(spec.name)
        whole = base if delta is None else base + delta
        expected = spec.to_hf(whole).astype(numpy_dtype("bfloat16"))
        assert (tensors[name] == expected).all(), name
    targets = len(model.family.targets) * model.config["num_layers"]
    assert (result.merged, result.tensors) == (targets, len(specs))
    assert result.parameters == sum(array.size for array in tensors.values())
    assert result.files.keys() == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(("family", "tied"), [("gemma", None), ("llama3", True), ("llama3", False)])
def test_a_tied_embedding_is_one_tensor(tmp_path, family, tied):
    write_hf(live_model(family, tied=tied), tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "model.embed_tokens.weight" in names
    assert ("lm_head.weight" in names) == (tied is False)
    assert written(tmp_path, "config.json")["tie_word_embeddings"] == (tied is not False)


def test_both_stop_ids_and_the_turns_of_the_template_are_written(tmp_path):
    model = live_model("gemma3")
    write_hf(model, tmp_path)
    stops = [model.tokenizer.eos_id, model.tokenizer.special_ids["<end_of_turn>"]]
    for name in ("config.json", "generation_config.json"):
        assert written(tmp_path, name)["eos_token_id"] == stops
        assert written(tmp_path, name)["bos_token_id"] == 2
    assert written(tmp_path, "config.json")["architectures"] == ["Gemma3ForCausalLM"]
    assert (tmp_path / "chat_template.jinja").read_text() == model.template.chat_template()


def test_a_template_without_turns_stops_at_eos_and_has_no_chat_template(tmp_path):
    model = live_model("gemma", template="instruction")
    write_hf(model, tmp_path)
    assert written(tmp_path, "generation_config.json")["eos_token_id"] == [1]
    assert not (tmp_path / "chat_template.jinja").exists()


def test_float16_is_refused_where_it_overflows(tmp_path):
    with pytest.raises(ExportError, match="--dtype bfloat16"):
        write_hf(live_model("gemma3"), tmp_path, dtype="float16")
    assert list(tmp_path.iterdir()) == []
    model = live_model("llama3")
    model.spoil = lambda name, delta: delta + np.float32(1e5)
    with pytest.raises(ExportError, match=r"do not fit float16 \(14\):") as raised:
        write_hf(model, tmp_path, dtype="float16")
    assert "decoder_block_0/attention/query/kernel: 1024 of 1024 values" in str(raised.value)


def test_a_delta_of_another_shape_is_refused(tmp_path):
    model = live_model("gemma")
    model.spoil = lambda name, delta: delta[..., :-1]
    with pytest.raises(ExportError, match=r"expected a delta of shape \(4, 32, 16\)"):
        write_hf(model, tmp_path)
