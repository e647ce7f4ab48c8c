"""The proof holds for the trained model and for nothing else."""

import importlib.util
import json

import numpy as np
import pytest

from kerasft.errors import ExportError
from kerasft.export import verify
from kerasft.export.hf import write_hf
from kerasft.export.verify import verify_folder
from tests.export.live import live_model

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(
    ("family", "layout"),
    [("gemma", "keras"), ("gemma2", "peft"), ("gemma3", "keras"), ("llama3", "peft")],
)
def test_a_float32_export_gives_the_live_logits(tmp_path, family, layout, backend):
    model = live_model(family, layout=layout)
    write_hf(model, tmp_path, shard_bytes=60_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    verification = verify_folder(model, tmp_path)
    assert verification.faults == []
    comparison = verification.comparison
    assert comparison.largest_difference < 1e-4
    assert comparison.mean_distance_from_base > 0.1
    assert comparison.recovered == pytest.approx(1, abs=1e-4)
    assert verification.tokenizer == {"texts": 12, "equal": 12}
    assert verification.greedy["equal"] == verification.greedy["prompts"] == 3
    assert verification.probes["past_window"]
    saved = json.loads((tmp_path / verify.FILE).read_text())
    assert saved["status"] == "passed" and saved["backend"] == backend
    assert saved["schema_version"] == 1
    assert saved["comparison"]["largest_difference"] == comparison.largest_difference


@pytest.mark.parametrize(("family", "dtype"), [("gemma3", "bfloat16"), ("llama3", "float16")])
def test_rounded_weights_stay_within_their_bound(tmp_path, family, dtype):
    model = live_model(family, base_dtype="bfloat16")
    write_hf(model, tmp_path, dtype=dtype)
    verification = verify_folder(model, tmp_path)
    assert verification.faults == []
    assert verification.bound_dtype == verification.weight_dtype == dtype
    assert verification.comparison.largest_difference > 1e-4


def lost(model):
    return lambda name, delta: None


def gate_and_up_swapped(model):
    other = {"gate": "up", "up": "gate"}

    def spoil(name, delta):
        parts = name.split("/")
        if parts[-2] not in other:
            return delta
        return model.lora.delta("/".join([*parts[:-2], other[parts[-2]]]))

    return spoil


def one_transposed(model):
    def spoil(name, delta):
        if name != "decoder_block_1/attention/query/kernel":
            return delta
        return np.ascontiguousarray(delta[::-1])

    return spoil


@pytest.mark.parametrize("spoiler", [lost, gate_and_up_swapped, one_transposed])
def test_a_wrong_merge_is_found(tmp_path, spoiler):
    model = live_model("gemma")
    model.spoil = spoiler(model)
    write_hf(model, tmp_path)
    model.spoil = None
    verification = verify_folder(model, tmp_path)
    assert verification.status == "failed"
    assert "a logit differs by" in verification.faults[0]
    if spoiler is lost:
        assert verification.comparison.mean_distance_from_base < 1e-5
        assert "0.0% of what training changed" in "".join(verification.faults)
    with pytest.raises(ExportError, match="not the trained one"):
        verification.require()
    assert json.loads((tmp_path / verify.FILE).read_text())["status"] == "failed"


def test_wrong_files_beside_right_weights_are_found_all_at_once(tmp_path):
    model = live_model("gemma")
    write_hf(model, tmp_path)
    change(tmp_path / "generation_config.json", lambda value: value | {"eos_token_id": 2})
    change(tmp_path / "tokenizer.json", lambda value: value | {"post_processor": None})
    merges = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"]
    change(
        tmp_path / "tokenizer.json",
        lambda value: value | {"model": value["model"] | {"merges": merges[20:]}},
    )
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ bos_token }}", ""))
    faults = "\n".join(verify_folder(model, tmp_path).faults)
    assert "generation stops at the ids [2]" in faults
    assert "into other tokens" in faults
    assert "tokenizer frames" in faults
    assert "chat template writes" in faults
    assert "a logit differs" not in faults


def change(file, edit):
    file.write_text(json.dumps(edit(json.loads(file.read_text()))))


def test_a_folder_that_transformers_cannot_load_fails_with_its_reason(tmp_path):
    model = live_model("gemma")
    write_hf(model, tmp_path)
    change(tmp_path / "config.json", lambda value: value | {"model_type": "unheard_of"})
    verification = verify_folder(model, tmp_path)
    assert verification.status == "failed" and verification.comparison is None
    assert "transformers cannot load the folder" in verification.faults[0]


def test_without_transformers_it_says_what_was_not_verified_and_how_to(tmp_path, monkeypatch):
    model = live_model("gemma")
    write_hf(model, tmp_path)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "transformers" else find_spec(name),
    )
    verification = verify_folder(model, tmp_path)
    assert verification.status == "not_verified" and verification.faults == []
    note = json.loads((tmp_path / verify.FILE).read_text())["note"]
    assert "Logits" in note and "kerasft[hf]" in note and "--verify" in note


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"no \.safetensors file"):
        verify_folder(live_model("gemma"), tmp_path)
