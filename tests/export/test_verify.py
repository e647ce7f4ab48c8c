"""The proof holds for the trained model and for nothing else."""

import importlib.util
import json
import weakref

import numpy as np
import pytest

from kerasft.errors import ExportError
from kerasft.export import room, verify
from kerasft.export.hf import write_hf
from kerasft.export.verify import verify_folder
from kerasft.export.views import untouched
from tests.export.live import ask_here, live_model, tiny_weights
from tests.export.spoilers import SPOILERS


@pytest.mark.keras
@pytest.mark.once
def test_a_float32_export_gives_the_live_logits_in_a_process_of_its_own(tmp_path, backend):
    model = live_model("gemma3")
    write_hf(model, tmp_path, dtype="float32", shard_bytes=60_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    verification = verify_folder(model, tmp_path, live=lambda: model, backend=backend)
    assert verification.faults == []
    assert (verification.format, verification.method) == ("hf", "logits and tensors")
    comparison = verification.comparison
    assert comparison.largest_difference < 1e-4
    assert comparison.mean_distance_from_base > 0.1
    assert comparison.recovered == pytest.approx(1, abs=1e-4)
    assert verification.tokenizer == {"texts": 12, "equal": 12}
    assert verification.greedy["equal"] == verification.greedy["prompts"] == 3
    assert verification.probes["past_window"]
    assert verification.files.keys() >= {"config.json", "tokenizer.json"}
    saved = json.loads((tmp_path / verify.FILE).read_text())
    assert saved["status"] == "passed" and saved["backend"] == backend
    assert saved["schema_version"] == 1
    assert saved["comparison"]["largest_difference"] == comparison.largest_difference
    assert saved["tensors"]["wrong_values"] == 0


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.parametrize(
    ("family", "layout", "dtype"),
    [
        ("gemma2", "peft", "float32"),
        ("llama3", "keras", "float16"),
        ("gemma2", "keras", "bfloat16"),
    ],
)
def test_rounded_weights_stay_within_their_bound(tmp_path, family, layout, dtype):
    model = live_model(family, base_dtype="bfloat16", layout=layout)
    write_hf(model, tmp_path, dtype=dtype)
    verification = verify_folder(model, tmp_path, live=lambda: model, ask=ask_here)
    assert verification.faults == []
    assert verification.bound_dtype == verification.weight_dtype == dtype
    assert verification.comparison.largest_difference > (0 if dtype == "float32" else 1e-4)


@pytest.mark.keras
@pytest.mark.once
def test_the_live_model_is_gone_before_the_folder_is_loaded(tmp_path):
    """So that a proof needs memory for one model, not two."""
    write_hf(tiny_weights("gemma"), tmp_path, dtype="float32")
    kept = []

    def live():
        model = live_model("gemma")
        kernels = [layer.base._kernel.value for layer in model.lora.layers.values()]
        kept.extend(weakref.ref(each) for each in [model, *kernels])
        return model

    def ask(form, folder, scratch):
        assert len(kept) == 15 and all(each() is None for each in kept)
        return ask_here(form, folder, scratch)

    assert verify_folder(tiny_weights("gemma"), tmp_path, live=live, ask=ask).faults == []


@pytest.mark.keras
@pytest.mark.once
def test_one_lost_delta_that_the_logits_hardly_show_fails(tmp_path):
    """Of 49 deltas one is lost: rounding moves the logits more, and the tensors show it."""
    model = live_model("gemma3", base_dtype="bfloat16", size=0.01)
    write_hf(SPOILERS["one_lost"](model), tmp_path, dtype="bfloat16")
    verification = verify_folder(model, tmp_path, live=lambda: model, ask=ask_here)
    assert verification.status == "failed" and verification.files == {}
    assert [fault.partition(":")[0] for fault in verification.faults] == [
        "decoder_block_1/attention/query/kernel"
    ]
    with pytest.raises(ExportError, match="not the trained one"):
        verification.require()
    assert json.loads((tmp_path / verify.FILE).read_text())["status"] == "failed"


@pytest.mark.keras
@pytest.mark.once
def test_a_lost_adapter_shows_in_logits_and_tensors(tmp_path):
    model = live_model("gemma")
    write_hf(SPOILERS["all_lost"](model), tmp_path, dtype="float32")
    verification = verify_folder(model, tmp_path, live=lambda: model, ask=ask_here)
    assert verification.comparison.mean_distance_from_base < 1e-5
    faults = "\n".join(verification.faults)
    assert "a logit differs by" in faults and "0.0% of what training changed" in faults
    assert verification.tensors.wrong_tensors == 14


@pytest.mark.parametrize("name", SPOILERS)
def test_every_mistake_is_found_without_a_forward_pass(tmp_path, name):
    weights = tiny_weights("gemma2", base_dtype="bfloat16", size=0.02)
    write_hf(SPOILERS[name](weights), tmp_path, dtype="bfloat16")
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    assert verification.status == "failed" and verification.method == "tensors"


def test_a_proof_by_tensors_says_so_and_compares_everything_but_logits(tmp_path):
    weights = tiny_weights("llama3", base_dtype="bfloat16", layout="peft")
    write_hf(weights, tmp_path, dtype="bfloat16")
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    assert (verification.status, verification.method) == ("passed", "tensors")
    assert verification.comparison is None and verification.greedy == {}
    assert verification.tokenizer == {"texts": 12, "equal": 12}
    assert (
        "No logits were compared" in verification.note and "Every tensor was" in verification.note
    )
    assert verification.tensors.adapted == 14


def test_a_light_adapter_that_rounding_takes_away_fails_without_logits_too(tmp_path):
    weights = tiny_weights("gemma", base_dtype="bfloat16", size=3e-4)
    write_hf(weights, tmp_path, dtype="bfloat16")
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    (fault,) = verification.faults
    assert "of what training changed is in the tensors" in fault and "finer --dtype" in fault


def test_where_float32_does_not_fit_no_live_model_is_built(tmp_path, monkeypatch):
    weights = tiny_weights("gemma")
    write_hf(weights, tmp_path, dtype="float32")
    monkeypatch.setattr(room, "free_ram_bytes", lambda: 1 << 30)

    def live():
        raise AssertionError("built")

    verification = verify_folder(weights, tmp_path, live=live, ask=ask_here)
    assert (verification.status, verification.method) == ("passed", "tensors")
    assert "needs 1.5 GiB and this machine has 1.0 GiB of memory free" in verification.note


def test_wrong_files_beside_right_weights_are_found_all_at_once(tmp_path):
    weights = tiny_weights("gemma")
    write_hf(weights, tmp_path, dtype="float32")
    change(tmp_path / "generation_config.json", lambda value: value | {"eos_token_id": 2})
    change(tmp_path / "tokenizer.json", lambda value: value | {"post_processor": None})
    merges = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"]
    change(
        tmp_path / "tokenizer.json",
        lambda value: value | {"model": value["model"] | {"merges": merges[20:]}},
    )
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ bos_token }}", ""))
    change(tmp_path / "config.json", lambda value: value | {"rms_norm_eps": 1e-5})
    faults = "\n".join(verify_folder(weights, tmp_path, live=None, ask=ask_here).faults)
    assert "generation stops at the ids [2]" in faults
    assert "into other tokens" in faults
    assert "tokenizer frames" in faults
    assert "chat template writes" in faults
    assert "rms_norm_eps" in faults
    assert "rounding" not in faults


def test_stop_ids_are_those_of_the_config_where_there_are_no_others(tmp_path):
    weights = tiny_weights("gemma")
    write_hf(weights, tmp_path, dtype="float32")
    (tmp_path / "generation_config.json").unlink()
    assert verify_folder(weights, tmp_path, live=None, ask=ask_here).faults == []
    change(tmp_path / "config.json", lambda value: value | {"eos_token_id": 1})
    (fault,) = verify_folder(weights, tmp_path, live=None, ask=ask_here).faults
    assert "generation stops at the ids [1]" in fault


def change(file, edit):
    file.write_text(json.dumps(edit(json.loads(file.read_text()))))


def test_a_folder_that_its_reader_cannot_load_fails_with_the_reason(tmp_path):
    weights = tiny_weights("gemma")
    write_hf(weights, tmp_path, dtype="float32")
    (tmp_path / "tokenizer.json").write_text("{")
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    assert verification.status == "failed" and verification.comparison is None
    assert "a Hugging Face model cannot be loaded from the folder" in verification.faults[-1]


def test_without_transformers_it_says_what_was_not_verified_and_how_to(tmp_path, monkeypatch):
    weights = tiny_weights("gemma")
    write_hf(weights, tmp_path, dtype="float32")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "transformers" else find_spec(name),
    )
    verification = verify_folder(weights, tmp_path, live=None)
    assert verification.status == "not_verified" and verification.faults == []
    assert verification.tensors.wrong_values == 0 and verification.files == {}
    note = json.loads((tmp_path / verify.FILE).read_text())["note"]
    assert "Logits" in note and "kerasft[hf]" in note and "--verify" in note
    write_hf(SPOILERS["one_lost"](weights), tmp_path, dtype="float32")
    assert verify_folder(weights, tmp_path, live=None).status == "failed"


def test_a_folder_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(ExportError, match="is no export that can be verified"):
        verify_folder(tiny_weights("gemma"), tmp_path, live=None)


def peft_merged(weights, folder, dtype):
    """A folder that kerasft had no part in: PEFT merges its own adapter, transformers saves."""
    import peft
    import torch
    import transformers

    base, merged = folder / "base", folder / "merged"
    base.mkdir()
    write_hf(untouched(weights), base, dtype=weights.base_dtype)
    kind = getattr(torch, dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=kind)
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    settings = peft.LoraConfig(r=2, lora_alpha=4, target_modules=list(names))
    model = peft.get_peft_model(model, settings)
    state = {}
    for spec in weights.family.tensors(weights.config):
        for part in "ab" if spec.target else "":
            values = weights.tensors[spec.name.replace("kernel", part)]
            module = f"base_model.model.{spec.hf.removesuffix('.weight')}.lora_{part.upper()}"
            state[f"{module}.default.weight"] = torch.from_numpy(np.ascontiguousarray(values.T))
    model.load_state_dict(state, strict=False)
    model.merge_and_unload(safe_merge=True).save_pretrained(merged)
    for file in base.iterdir():
        if file.name.startswith(("tokenizer", "chat", "special", "generation")):
            (merged / file.name).write_bytes(file.read_bytes())
    return merged


@pytest.mark.parametrize(
    ("family", "dtype"), [("gemma3", "float32"), ("llama3", "bfloat16"), ("gemma2", "bfloat16")]
)
def test_what_peft_merged_and_transformers_saved_is_verified_too(tmp_path, family, dtype):
    weights = tiny_weights(family, layout="peft", base_dtype="bfloat16")
    merged = peft_merged(weights, tmp_path, dtype)
    verification = verify_folder(weights, merged, live=None, ask=ask_here)
    assert verification.faults == [] and verification.weight_dtype == dtype
    other = tiny_weights(family, layout="peft", base_dtype="bfloat16", seed=3)
    assert verify_folder(other, merged, live=None, ask=ask_here).status == "failed"
