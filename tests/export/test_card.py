"""The card says what the run and the proof say, and nothing of the machine."""

import dataclasses
import json

import pytest

from kerasft.evaluating.paired import compare_flags
from kerasft.export.card import Facts, card, front_matter, hub_base, notice, public_name
from kerasft.export.proof import BOUNDS, compare_all
from kerasft.recipe import load
from kerasft.tasks.intervals import mean, proportion

VERIFIED = {
    "status": "passed",
    "backend": "jax",
    "compute_dtype": "float32",
    "bound": dataclasses.asdict(BOUNDS["bfloat16"]),
    "greedy": {"prompts": 3, "equal": 2},
    "tokenizer": {"texts": 12, "equal": 12},
    "versions": {"transformers": "5.23.0"},
}


@pytest.fixture
def facts() -> Facts:
    import numpy as np

    live = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    comparison = compare_all([(live, live - 1, live + np.float32(0.125))])
    return Facts(
        title="my-model",
        family="gemma3",
        base_model="google/gemma-3-270m",
        embedded=True,
        base_id="gemma3-270m@a5fd",
        fingerprint="f" * 64,
        licence="Gemma Terms of Use",
        licence_page="https://ai.google.dev/gemma/terms",
        source="gretelai/synthetic_text_to_sql",
        prompt="<start_of_turn>user\n{question}",
        recipe=load("sql").model_dump(),
        record={"backend": "jax", "steps": 7, "first_loss": 4.25, "last_loss": 1.5},
        scores={
            "held-out": {
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
                "forgetting": {"tuned": {"mean": 4.5, "low": 4.0, "high": 5.0}},
            }
        },
        written={"dtype": "bfloat16", "parameters": 268_098_176},
        verification=VERIFIED | {"comparison": dataclasses.asdict(comparison)},
    )


def test_the_front_matter_is_yaml_that_the_hub_knows(facts):
    lines = front_matter(facts).strip().splitlines()
    assert lines[0] == lines[-1] == "---"
    fields = {key: json.loads(value) for key, _, value in (x.partition(": ") for x in lines[1:-1])}
    assert fields == {
        "license": "gemma",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "google/gemma-3-270m",
        "base_model_relation": "finetune",
        "datasets": ["gretelai/synthetic_text_to_sql"],
        "tags": ["kerasft", "keras", "lora", "text-to-sql"],
    }


def test_the_numbers_are_those_of_the_run_and_the_proof(facts):
    text = card(facts)
    for part in (
        "268,098,176 parameters in bfloat16",
        "(jax backend)",
        "dequantised",
        "| loss | 4.250 at first, 1.500 at last |",
        "| tuned / valid_sql | 80.0% | 67.0% to 88.8% | 50 |",
        "| tuned / rouge_l | 0.625 |",
        "| mean logit difference | 0.125 |",
        "| part of the training that is in the export | 112.50% |",
        "| greedy continuations that are equal | 2 of 3 |",
        "Apache-2.0",
        "https://ai.google.dev/gemma/terms",
        "{question}",
    ):
        assert part in text, part
    for part in ("by_difficulty", "with_retry", "forgetting", "comparison"):
        assert part not in text, part
    scores = [line for line in text.splitlines() if line.startswith(("| tuned /", "| base /"))]
    assert len(scores) == 3
    assert "Tuned less base, valid_sql of 50 rows: +0.600 (" in text
    assert "30 rows fixed, 0 broken, McNemar's exact test p = 1.9e-09." in text
    assert text.count("Tuned less base") == 1


def test_without_a_proof_the_card_says_so(facts):
    unproven = {"status": "not_verified", "note": "transformers is not installed."}
    text = card(dataclasses.replace(facts, verification=unproven))
    assert "Not verified. transformers is not installed." in text


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


def test_a_base_is_named_on_the_hub_only_when_it_is_there():
    assert hub_base("gemma3-270m") == "google/gemma-3-270m"
    assert hub_base("hf://google/gemma-2b") == "google/gemma-2b"
    assert hub_base("weights/tiny-gemma3") is None
    assert hub_base("gemma_2b_en") is None


def test_each_family_carries_its_terms(facts):
    assert "ai.google.dev/gemma/terms" in notice(facts)
    llama = dataclasses.replace(
        facts,
        family="llama3",
        base_model="meta-llama/Llama-3.1-8B",
        licence="Llama Community License",
        licence_page="https://www.llama.com/llama-downloads",
    )
    assert "Built with Llama" in notice(llama) and "Gemma" not in notice(llama)
    assert 'license: "llama3.1"' in front_matter(llama)
    bare = dataclasses.replace(llama, base_model=None, base_id="mine")
    assert 'license: "llama3"' in front_matter(bare)
