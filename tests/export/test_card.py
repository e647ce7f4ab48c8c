"""The card says what the run and the proof say, and nothing of the machine."""

import dataclasses

import gguf
import numpy as np
import pytest
from huggingface_hub import ModelCard

from kerasft.evaluating.paired import compare_flags
from kerasft.export.card import card, notice
from kerasft.export.card_facts import (
    Facts,
    hub_base,
    is_dequantised,
    public_name,
    public_recipe,
    publishable,
)
from kerasft.export.card_licences import licence_of
from kerasft.export.formats import FORMATS
from kerasft.export.proof import BOUNDS, compare_all
from kerasft.export.tensor_proof import TensorComparison
from kerasft.recipe import load, to_toml
from kerasft.tasks.intervals import mean, perplexity, proportion

TENSORS = TensorComparison(
    tensors=236,
    values=268_098_176,
    adapted=126,
    wrong_tensors=0,
    wrong_values=0,
    largest_share=0.5,
    worst_tensor="blocks.3.up",
    recovered=0.999,
)
BY_TENSORS = {
    "status": "passed",
    "format": "hf",
    "method": "tensors",
    "note": "",
    "backend": "jax",
    "weight_dtype": "bfloat16",
    "compute_dtype": "float32",
    "bound": dataclasses.asdict(BOUNDS["bfloat16"]),
    "tensors": dataclasses.asdict(TENSORS),
    "tokenizer": {"texts": 12, "equal": 12},
    "versions": {"transformers": "5.23.0"},
}


@pytest.fixture
def facts() -> Facts:
    live = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    comparison = compare_all([(live, live - 1, live + np.float32(0.125))])
    recipe = load("sql")
    return Facts(
        title="my-model",
        format="hf",
        family="gemma3",
        base_model="google/gemma-3-270m",
        dequantised=True,
        base_id="gemma3-270m@a5fd",
        fingerprint="f" * 64,
        base_dtype="bfloat16",
        licence=licence_of("gemma3", "", {}),
        source="gretelai/synthetic_text_to_sql",
        prompt="<start_of_turn>user\n{question}",
        recipe=recipe.model_dump(),
        recipe_toml=to_toml(recipe),
        record={"backend": "jax", "steps": 7, "first_loss": 4.25, "last_loss": 1.5},
        scores={
            "held-out": {
                "data": {"source": "gretelai/synthetic_text_to_sql", "which": "rows held back"},
                "rows": 50,
                "tuned": {
                    "valid_sql": proportion(40, 50),
                    "rouge_l": mean([0.5, 0.75]),
                    "by_difficulty": {"easy": {"valid_sql": proportion(9, 9)}},
                },
                "base": {"valid_sql": proportion(10, 50)},
                "comparison": {
                    "valid_sql": compare_flags(
                        [True] * 10 + [False] * 40, [True] * 40 + [False] * 10
                    ),
                    "rouge_l": {"of": 50, "difference": mean([0.25, 0.5])},
                },
                "with_retry": {"tuned": {"valid_sql": proportion(45, 50)}},
                "forgetting": {
                    "data": {"source": "dolly"},
                    "tuned": perplexity([30.0], [10]),
                    "base": perplexity([20.0], [10]),
                },
            }
        },
        written={
            "dtype": "bfloat16",
            "parameters": 268_098_176,
            "files": {"model.gguf": 1},
            "notes": ("Something was lost.",),
        },
        verification=BY_TENSORS
        | {
            "method": "logits and tensors",
            "comparison": dataclasses.asdict(comparison),
            "greedy": {"prompts": 3, "equal": 2},
        },
    )


def llama(facts: Facts, base: str = "meta-llama/Llama-3.1-8B") -> Facts:
    licence = licence_of("llama3", base, {})
    return dataclasses.replace(facts, family="llama3", base_model=base, licence=licence)


def metadata(facts: Facts) -> dict:
    return ModelCard(card(facts)).data.to_dict()


def test_the_hubs_own_library_reads_the_front_matter(facts):
    fields = metadata(facts)
    index = fields.pop("model-index")
    assert fields == {
        "license": "gemma",
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "google/gemma-3-270m",
        "base_model_relation": "finetune",
        "datasets": ["gretelai/synthetic_text_to_sql"],
        "tags": ["kerasft", "keras", "lora", "text-to-sql"],
    }
    (metrics,) = (result["metrics"] for result in index[0]["results"])
    assert [(each["type"], each["value"]) for each in metrics] == [
        ("valid_sql", 0.8),
        ("rouge_l", 0.625),
    ]
    assert metrics[0]["args"] == {"low": 0.6696, "high": 0.8876, "of": 50}
    assert metrics[0]["name"] == "valid_sql (95 % interval 67.0% to 88.8%)"


@pytest.mark.parametrize(
    ("name", "library", "relation"),
    [
        ("hf", "transformers", "finetune"),
        ("peft", "peft", "adapter"),
        ("gguf", "gguf", "finetune"),
        ("keras", "keras-hub", "finetune"),
    ],
)
def test_each_format_names_its_library_and_how_to_load_it(facts, name, library, relation):
    each = dataclasses.replace(
        facts,
        format=name,
        adapter_config={"r": 8, "rank_pattern": {"q_proj": 32}} if name == "peft" else None,
    )
    fields = metadata(each)
    assert (fields["library_name"], fields["base_model_relation"]) == (library, relation)
    text = card(each)
    for loads in {
        "hf": ["AutoModelForCausalLM", "vllm serve ./my-model", "--to gguf", "--to keras"],
        "peft": ["PeftModel.from_pretrained", "--max-lora-rank 32"],
        "gguf": ["llama-cli -m model.gguf", "ollama create my-model -f Modelfile"],
        "keras": ["keras_hub.models.CausalLM.from_preset"],
    }[name]:
        assert loads in text, loads
    assert ("modified: an adapter was merged" in notice(each)) == (name != "peft")


def test_every_format_has_a_card():
    from kerasft.export.card_metadata import LIBRARIES
    from kerasft.export.card_sections import FORMS
    from kerasft.export.card_use import USE

    assert set(FORMATS) == set(USE) == set(LIBRARIES) == set(FORMS)


def test_the_numbers_are_those_of_the_run_and_the_proof(facts):
    text = card(facts)
    for part in (
        "268,098,176 parameters in bfloat16",
        "(jax backend)",
        "dequantised",
        "Something was lost.",
        "| loss | 4.250 at first, 1.500 at last |",
        "| tuned / valid_sql | 80.0% | 67.0% to 88.8% | 50 |",
        "| tuned / rouge_l | 0.625 |",
        "On gretelai/synthetic_text_to_sql, rows held back; greedy decoding.",
        "| mean logit difference | 0.125 | ≤ 0.01 |",
        "| part of the training that is in the answers | 112.50% | 100% |",
        "| equal greedy continuations | 2 of 3 |",
        "| compared | logits and tensors |",
        "| 236 of 236 (126 adapted, 268,098,176 values) | all |",
        "| 50% of what rounding to bfloat16 may do (blocks.3.up) | ≤ 100% |",
        "Apache-2.0",
        "https://ai.google.dev/gemma/terms",
        "{question}",
        "target_layers = [",
        "perplexity 20.1 on dolly, the base's 7.4",
    ):
        assert part in text, part
    for part in ("by_difficulty", "with_retry", "comparison"):
        assert part not in text, part
    scores = [line for line in text.splitlines() if line.startswith(("| tuned /", "| base /"))]
    assert len(scores) == 3
    assert "Tuned less base, valid_sql of 50 rows: +0.600 (" in text
    assert "30 rows fixed, 0 broken, McNemar's exact test p = 1.9e-09." in text
    assert text.count("Tuned less base") == 1


def test_a_proof_by_tensors_alone_says_so(facts):
    note = "No forward pass was made: it needs 64 GB and 24 GB are free."
    alone = dataclasses.replace(facts, verification=BY_TENSORS | {"note": note})
    text = card(alone)
    assert "| compared | tensors |" in text and note in text
    assert "| texts with equal token ids | 12 of 12 | all |" in text
    assert "logit difference" not in text and "greedy continuations" not in text


def test_without_a_proof_the_card_says_so(facts):
    unproven = BY_TENSORS | {"status": "not_verified", "note": "peft is not installed."}
    text = card(dataclasses.replace(facts, verification=unproven))
    assert "Not verified in full. peft is not installed." in text


def test_what_other_programs_made_of_it_is_in_the_card(facts):
    extra = {"runs_in": {"llama_cpp": "0.3.16", "equal": 3, "of": 3}, "merged_difference": 2e-5}
    text = card(dataclasses.replace(facts, verification=BY_TENSORS | {"extra": extra}))
    assert "llama.cpp (llama-cpp-python 0.3.16) | 3 of 3 |" in text
    assert "| largest logit difference after merging in PEFT | 2e-05 | ≤ 0.001 |" in text


def test_what_is_given_up_on_purpose_is_held_to_its_own_bound(facts):
    bound = {"largest": np.inf, "absolute": np.inf, "mean": np.inf, "top1": 0.0, "effect": 0.44}
    proof = facts.verification | {"bound": bound | {"reason": "one rank for all"}}
    text = card(dataclasses.replace(facts, verification=proof))
    assert "| mean logit difference | 0.125 | ≤ 44% of the 1 of training |" in text
    assert "inf" not in text.split("## Verification")[1].split("## Limits")[0]
    assert "≥ 0%" not in text


def test_a_run_that_was_not_scored_says_so(facts):
    unscored = dataclasses.replace(facts, scores={})
    assert "how good its answers are is not known" in card(unscored)
    assert "model-index" not in metadata(unscored)


def test_a_prompt_with_a_fence_or_a_bar_stays_within_its_block(facts):
    text = card(dataclasses.replace(facts, prompt="```sql\n{question}\n```"))
    assert "````text\n```sql\n{question}\n```\n````" in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/someone/data/rows.jsonl", "rows.jsonl"),
        ("~/rows.csv", "rows.csv"),
        ("../secret/rows.csv", "rows.csv"),
        ("C:\\Users\\someone\\rows.csv", "rows.csv"),
        ("file:///home/someone/rows.csv", "rows.csv"),
        ("gretelai/synthetic_text_to_sql", "gretelai/synthetic_text_to_sql"),
        ("kaggle://keras/gemma/keras/gemma_2b_en/1", "kaggle://keras/gemma/keras/gemma_2b_en/1"),
        ("synth", "synth"),
    ],
)
def test_folders_of_the_machine_are_left_out(given, shown):
    assert public_name(given) == shown


def test_a_relative_path_that_exists_is_local(tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "rows").mkdir()
    monkeypatch.chdir(tmp_path)
    assert public_name("org/rows") == "rows"


def test_the_recipe_in_the_card_names_no_folder_and_still_resolves():
    overrides = {
        "model.preset": "/home/someone/models/mine",
        "data.source": "/home/someone/rows.jsonl",
        "data.schemas": "/home/someone/tables.json",
        "lora.init_from": "/home/someone/runs/first",
    }
    text = to_toml(public_recipe(load("sql", overrides)))
    assert "someone" not in text
    for name in ('preset = "mine"', '"rows.jsonl"', '"tables.json"', 'init_from = "first"'):
        assert name in text


def test_a_text_that_a_person_wrote_loses_folders_and_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef0123456789abcdef")
    run = tmp_path / "elsewhere" / "runs" / "sql-1"
    text = publishable(
        f"see {tmp_path}/someone/notes.txt, {run}, {tmp_path}/someone and "
        f"0123456789abcdef0123456789abcdef hf_{'a' * 30}",
        run,
    )
    assert text == "see notes.txt, sql-1, … and [masked] [masked]"


def test_a_base_is_named_on_the_hub_only_when_it_is_there():
    assert hub_base("gemma3-270m") == "google/gemma-3-270m"
    assert hub_base("hf://google/gemma-2b") == "google/gemma-2b"
    assert hub_base("hf://google/gemma-2b@main") == "google/gemma-2b"
    assert hub_base("weights/tiny-gemma3") is None
    assert hub_base("gemma_2b_en") is None


def test_a_base_from_quantised_weights_is_known(tmp_path):
    assert is_dequantised("gemma3-270m", "gemma3-270m")
    assert is_dequantised("/home/someone/preset", "preset (dequantised from int8)")
    assert not is_dequantised("hf://google/gemma-2b", "hf://google/gemma-2b@1")
    for kind, quantised in (("Q8_0", True), ("BF16", False)):
        path = tmp_path / f"{kind}.gguf"
        writer = gguf.GGUFWriter(path, "gemma3")
        writer.add_tensor("norm", np.ones(32, np.float32))
        packed = gguf.quantize(np.ones((2, 32), np.float32), gguf.GGMLQuantizationType[kind])
        writer.add_tensor("weight", packed, raw_dtype=gguf.GGMLQuantizationType[kind])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert is_dequantised(str(path), path.name) == quantised


def test_gemmas_terms_travel(facts):
    assert "ai.google.dev/gemma/terms" in notice(facts)
    assert "Llama" not in notice(facts) and "Built with" not in card(facts)


def test_llamas_terms_travel_and_begin_the_name(facts):
    ours = llama(facts)
    assert "Built with Llama" in notice(ours) and "Gemma" not in notice(ours)
    assert "Llama 3.1 is licensed under the Llama 3.1 Community License" in notice(ours)
    assert metadata(ours)["license"] == "llama3.1"
    assert "# Llama my-model\n" in card(ours) and "**Built with Llama**" in card(ours)
    named = dataclasses.replace(ours, title="llama-sql")
    assert "# llama-sql\n" in card(named)


@pytest.mark.parametrize(
    ("names", "config", "hub", "name", "allowed"),
    [
        ("hf://meta-llama/Llama-3.2-1B", {}, "llama3.2", "Llama-SQL", True),
        ("meta-llama/Meta-Llama-3-8B", {}, "llama3", "Llama-SQL", False),
        ("llama3_8b_en", {}, "llama3", "llama-3-sql", True),
        ("llama3.1_8b", {}, "llama3.1", "sql-llama", False),
        ("mine", {}, "llama3", "Llama3-x", True),
        ("mine", {"rope_frequency_adjustment_factor": 8.0}, "llama3.1", "Llama", True),
        ("mine", {"rope_frequency_adjustment_factor": 32.0}, "llama3.2", "Llama", True),
    ],
)
def test_llamas_versions_differ_in_licence_and_name(names, config, hub, name, allowed):
    licence = licence_of("llama3", names, config)
    assert licence.hub == hub
    assert licence.allows_name(name) == allowed
