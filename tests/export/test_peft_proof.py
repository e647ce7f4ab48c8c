"""The proof of a PEFT adapter: it holds for the trained adapter and for nothing else."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from kerasft.errors import AdapterError, ExportError
from kerasft.export.formats import FORMATS, Format
from kerasft.export.peft import write_peft
from kerasft.export.peft_proof import promised_peft, stored_peft
from kerasft.export.tensor_proof import TensorComparison, compare_tensors
from kerasft.export.verify import verify_folder
from tests.export.live import ask_here, live_model, tiny_weights
from tests.export.spoilers import SPOILERS

FILE = "adapter_model.safetensors"


def proved(folder: Path, weights: Any) -> tuple[TensorComparison, list[str]]:
    stored = stored_peft(folder, weights)
    comparison, faults = compare_tensors(promised_peft(folder, weights).weights, stored)
    return comparison, stored.faults() + faults


def answer_here(form: Format, folder: Path, scratch: Path) -> None:
    """The reader in this process, where transformers is imported already."""
    importlib.import_module(form.reader).main(folder, scratch)


@pytest.mark.parametrize("options", [{}, {"share_rank": 3}, {"with_base": True}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("family", "layout"), [("gemma3", "keras"), ("llama3", "peft")])
def test_every_tensor_is_what_was_promised(tmp_path, family, layout, dtype, options):
    weights = tiny_weights(family, layout=layout, base_dtype="bfloat16")
    write_peft(weights, tmp_path, dtype=dtype, **options)
    comparison, faults = proved(tmp_path, weights)
    assert faults == []
    assert comparison.adapted == 7 * weights.config["num_layers"]
    assert comparison.recovered == pytest.approx(1, abs=1e-4)
    assert stored_peft(tmp_path, weights).dtype == dtype


@pytest.mark.parametrize("spoiler", sorted(SPOILERS.keys() - {"base_changed", "wrong_eos"}))
@pytest.mark.parametrize("options", [{}, {"share_rank": 3}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_adapter_is_found(tmp_path, spoiler, dtype, options):
    weights = tiny_weights("gemma")
    write_peft(SPOILERS[spoiler](weights), tmp_path, dtype=dtype, **options)
    comparison, faults = proved(tmp_path, weights)
    assert comparison.wrong_tensors == len(faults) > 0
    if spoiler.startswith(("one_", "of_another")):
        assert len(faults) == 1 and "decoder_block_1/attention/query/kernel" in faults[0]


def a_and_b_swapped(tensors: dict, config: dict) -> None:
    a, b = (f"base_model.model.model.layers.0.self_attn.o_proj.lora_{part}.weight" for part in "AB")
    tensors[a], tensors[b] = tensors[b].T.copy(), tensors[a].T.copy()


def a_module_missing(tensors: dict, config: dict) -> None:
    for part in "AB":
        del tensors[f"base_model.model.model.layers.1.mlp.up_proj.lora_{part}.weight"]


def a_target_missing(tensors: dict, config: dict) -> None:
    config["target_modules"].remove("v_proj")


def modules_renamed(tensors: dict, config: dict) -> None:
    """What vLLM leaves out without a word."""
    for name in [name for name in tensors if "gate_proj" in name]:
        tensors[name.replace("gate_proj", "gating_ffw")] = tensors.pop(name)
    config["target_modules"][config["target_modules"].index("gate_proj")] = "gating_ffw"


def one_rank_forgotten(tensors: dict, config: dict) -> None:
    del config["rank_pattern"]["k_proj"]


MUTATIONS: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "A and B swapped": (a_and_b_swapped, "decoder_block_0/attention/output/kernel: "),
    "alpha": (lambda t, c: c.update(lora_alpha=c["r"]), "50.0% of its delta is there"),
    "alpha of one": (
        lambda t, c: c["alpha_pattern"].update(k_proj=c["lora_alpha"]),
        "attention/key/kernel: ",
    ),
    "a module missing": (a_module_missing, "names model.layers.1.mlp.up_proj among"),
    "a target missing": (a_target_missing, "v_proj is not among target_modules"),
    "modules renamed": (modules_renamed, "layers.0.mlp.gating_ffw is adapted, and the base has no"),
    "modules renamed too": (modules_renamed, "target module gating_ffw, which the base has not"),
    "one rank forgotten": (one_rank_forgotten, "k_proj has rank 4, adapter_config.json says 8"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_folder_changed_afterwards_is_found(tmp_path, name):
    mutate, fault = MUTATIONS[name]
    weights = tiny_weights("llama3")
    write_peft(weights, tmp_path, dtype="float32")
    assert proved(tmp_path, weights)[1] == []
    tensors = load_file(tmp_path / FILE)
    change_config(tmp_path, lambda config: mutate(tensors, config))
    save_file(tensors, tmp_path / FILE)
    assert fault in "\n".join(proved(tmp_path, weights)[1])


def change_config(folder: Path, mutate: Callable[[dict], Any]) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    mutate(config)
    path.write_text(json.dumps(config))


def test_the_adapter_of_another_base_is_found(tmp_path):
    weights = tiny_weights("gemma")
    write_peft(weights, tmp_path, dtype="float32")
    faults = proved(tmp_path, replace(weights, fingerprint="1" * 64))[1]
    assert len(faults) == 1 and "names a base with fingerprint 000" in faults[0]


def test_another_base_beside_the_adapter_is_found(tmp_path):
    weights = tiny_weights("gemma")
    write_peft(SPOILERS["base_changed"](weights), tmp_path, dtype="float32", with_base=True)
    faults = proved(tmp_path, weights)[1]
    assert len(faults) == 1 and "decoder_block_1/ffw/down/kernel" in faults[0]


def test_a_shared_rank_is_measured_and_bounds_the_logits_by_it(tmp_path):
    weights = tiny_weights("llama3", rank=4)
    notes = write_peft(weights, tmp_path, dtype="float32", share_rank=7).notes
    promise = promised_peft(tmp_path, weights)
    said = json.loads((tmp_path / "kerasft.json").read_text())["relative_error"]
    # Measured on the weights here, by the singular values there.
    measured = promise.bound.effect / 4
    assert measured == pytest.approx(said, rel=1e-4) and 0.05 < measured < 0.25
    assert f"{said:.2%}" in promise.note and f"{said:.2%}" in notes[0]
    assert promised_peft(tmp_path, weights).weights is not weights


@pytest.mark.parametrize("share_rank", ["4", 0, -1, 1.5])
def test_a_shared_rank_that_is_none_is_refused(tmp_path, share_rank):
    weights = tiny_weights("gemma")
    write_peft(weights, tmp_path, dtype="float32")
    path = tmp_path / "kerasft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"share_rank": share_rank}))
    with pytest.raises(ExportError, match="expected a rank or null"):
        promised_peft(tmp_path, weights)


def test_an_adapter_without_a_tokenizer_goes_by_its_bases(tmp_path):
    """PEFT's own `save_pretrained` leaves the adapter's two files alone."""
    weights = tiny_weights("gemma3")
    write_peft(weights, tmp_path, dtype="float32")
    for path in tmp_path.iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    assert verification.status == "passed" and verification.tokenizer == {}
    (tmp_path / "tokenizer_config.json").write_text("{")
    verification = verify_folder(weights, tmp_path, live=None, ask=ask_here)
    assert "a PEFT adapter cannot be loaded from the folder" in verification.faults[0]


def test_a_folder_that_holds_no_adapter_is_refused(tmp_path):
    weights = tiny_weights("gemma")
    write_peft(weights, tmp_path, dtype="float32")
    save_file({}, tmp_path / FILE)
    with pytest.raises(ExportError, match="holds tensors of no type"):
        stored_peft(tmp_path, weights)
    (tmp_path / FILE).unlink()
    with pytest.raises(AdapterError, match=f"{FILE} is missing"):
        stored_peft(tmp_path, weights)


@pytest.fixture(scope="module")
def model() -> Any:
    """One for several tests, as each compiles anew on JAX."""
    return live_model("gemma2")


@pytest.mark.keras
@pytest.mark.once
def test_peft_gives_the_live_logits(tmp_path, model, backend):
    write_peft(model, tmp_path, dtype="float32")
    verification = verify_folder(
        model, tmp_path, live=lambda: model, backend=backend, ask=answer_here
    )
    assert verification.faults == []
    assert (verification.format, verification.method) == ("peft", "logits and tensors")
    comparison = verification.comparison
    assert comparison.largest_difference < 1e-4
    assert comparison.recovered == pytest.approx(1, abs=1e-4)
    assert comparison.mean_distance_from_base > 0.1
    assert verification.extra["merged_difference"] < 1e-4
    assert verification.tokenizer == {"texts": 12, "equal": 12}


@pytest.mark.keras
@pytest.mark.once
def test_a_bfloat16_adapter_gives_the_live_logits_on_the_base_beside_it(tmp_path, backend):
    model = live_model("llama3", layout="peft", base_dtype="bfloat16")
    write_peft(model, tmp_path, dtype="bfloat16", with_base=True)

    def without_the_proofs_own(form: Format, folder: Path, scratch: Path) -> None:
        path = scratch / "asked.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base": None}))
        answer_here(form, folder, scratch)

    verification = verify_folder(
        model, tmp_path, live=lambda: model, backend=backend, ask=without_the_proofs_own
    )
    assert verification.faults == []
    assert verification.bound_dtype == verification.weight_dtype == "bfloat16"
    assert verification.comparison.largest_difference > 1e-4


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.parametrize("share_rank", [1, 4])
def test_what_a_shared_rank_costs_is_bounded(tmp_path, model, share_rank, backend):
    write_peft(model, tmp_path, dtype="float32", share_rank=share_rank)
    verification = verify_folder(
        model, tmp_path, live=lambda: model, backend=backend, ask=answer_here
    )
    comparison, bound = verification.comparison, verification.bound
    lost = comparison.mean_difference / comparison.mean_training_effect
    assert f"One rank of {share_rank}" in verification.note
    assert verification.tensors.wrong_tensors == 0
    if share_rank == 1:  # of eight that the four heads' query has
        assert bound.effect == 1
        assert len(verification.faults) == 1
        assert "no nearer to the trained model" in verification.faults[0]
    else:
        assert verification.faults == []
        assert 0.1 < lost < bound.effect < 1


def test_formats_name_these_functions():
    form = FORMATS["peft"]
    assert form.load("writer") is write_peft
    assert form.load("stored") is stored_peft
    assert form.load("promise") is promised_peft
