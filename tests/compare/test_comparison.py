"""What is ranked, what is not and why, on run folders made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kerasft.compare import comparison
from kerasft.compare.comparison import compare_runs
from kerasft.compare.probes import Wanted
from kerasft.compare.probing import Probe
from kerasft.compare.result import CHECKS, Comparison
from kerasft.errors import KerasftError
from tests.compare.made import add_evaluation, made_probe, made_run


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Probe | str]:
    """Probes by the name of the run's folder; a good one where none is given."""
    given: dict[str, Probe | str] = {}

    def probes_of(wanted: Sequence[Wanted], at_once: int) -> list[Probe | str]:
        return [given.get(each.run.path.name, made_probe()) for each in wanted]

    monkeypatch.setattr(comparison, "probes_of", probes_of)
    return given


def compared(folder: Path, *runs: dict[str, Any], **how: Any) -> Comparison:
    made = []
    for place, settings in enumerate(runs):
        right = settings.pop("right", None)
        run = made_run(folder / f"run-{place}", **settings)
        if right is not None:
            add_evaluation(run, right, base=place == 0)
        made.append(run.path)
    return compare_runs(made, folder / "out", **how)


TORCH: dict[str, Any] = {}
HF: dict[str, Any] = {"engine": "hf"}


def test_runs_that_pass_the_gate_are_ranked(tmp_path: Path, probes: dict) -> None:
    flags = {"right": [True, False]}
    found = compared(tmp_path, TORCH | flags, HF | flags, price_per_hour=2.5)
    assert found.ranked and found.why_not == () and found.kind == "engines"
    assert found.reference == "keras-torch"
    assert [check.what for check in found.gate] == list(CHECKS)
    assert [each.ranked for each in found.contenders] == [True, True]
    assert [score.metric for score in found.base_scores] == ["execution_accuracy", "perplexity"]
    assert found.contenders[1].runs[0].scores and found.tests and found.differing_total == 0
    assert found.contenders[0].device == "cuda NVIDIA H100 80GB HBM3"
    assert found.commands[1].startswith("kerasft train --recipe recipe.toml --engine hf")
    assert 'preset = "gemma3-270m"' in found.recipe_toml
    assert Comparison.read(tmp_path / "out").to_json() == found.to_json()


def test_a_run_that_was_interrupted_is_told(tmp_path: Path, probes: dict) -> None:
    found = compared(tmp_path, TORCH, HF | {"record": {"attempts": 2, "status": "finished"}})
    (note,) = found.notes
    assert note.startswith("hf, seed 0, was begun 2 times") and found.ranked


def test_who_fails_the_gate_is_shown_and_not_ranked(tmp_path: Path, probes: dict) -> None:
    probes["run-2"] = made_probe(loss=3.3)
    found = compared(tmp_path, TORCH, HF, {"engine": "trl"})
    assert [each.ranked for each in found.contenders] == [True, True, False]
    assert found.ranked
    assert found.why_not == ("trl: it did not pass the parity gate: initial loss, first losses",)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"engine": "hf", "train__batch_size": 4}, "train.batch_size is 4"),
        ({"engine": "hf", "record": {"dtype": "float32"}}, "the base is in float32"),
        ({"engine": "hf", "record": {"status": "stopped", "why": "asked"}}, "not finished"),
        ({"engine": "hf", "seed": 1}, "its seeds are 1"),
    ],
)
def test_what_is_not_alike_is_not_ranked(
    other: dict[str, Any], reason: str, tmp_path: Path, probes: dict
) -> None:
    found = compared(tmp_path, TORCH, other)
    assert not found.ranked and not any(each.ranked for each in found.contenders)
    assert any(reason in line for line in found.why_not)


def test_layouts_are_shown_as_such(tmp_path: Path, probes: dict) -> None:
    keras = {"lora__layout": "keras", "record": {"parameters": {"trained": 5_000_000}}}
    found = compared(tmp_path, TORCH, keras)
    assert found.kind == "layouts" and not found.ranked
    assert [each.layout for each in found.contenders] == ["peft", "keras"]
    assert [each.trained_parameters for each in found.contenders] == [1_898_496, 5_000_000]
    assert any("comparison of layouts" in line for line in found.why_not)


def test_without_the_gate_nothing_is_ranked(tmp_path: Path, probes: dict) -> None:
    found = compared(tmp_path, TORCH, HF, checked=False)
    assert not found.ranked and found.gate == ()
    assert any("--no-gate" in line for line in found.why_not)


def test_a_run_that_cannot_be_probed_is_not_ranked(tmp_path: Path, probes: dict) -> None:
    probes["run-1"] = "ModelError: transformers cannot take these weights"
    found = compared(tmp_path, TORCH, HF)
    assert not found.ranked
    assert "transformers cannot take these weights" in found.gate[0].detail


def test_evaluations_of_other_rows_are_not_paired(tmp_path: Path, probes: dict) -> None:
    runs = [made_run(tmp_path / "a"), made_run(tmp_path / "b", engine="hf")]
    for run, prompts in zip(runs, ("these", "others"), strict=True):
        add_evaluation(run, [True, False], prompts=prompts)
    found = compare_runs([run.path for run in runs], tmp_path / "out")
    assert found.tests == () and found.examples == ()
    labels = [each.runs[0].scores[0].evaluation for each in found.contenders]
    assert labels == ["rows", "rows (2)"]
    assert any("not of the same questions" in note for note in found.notes)


def test_seeds_are_paired_with_their_like(tmp_path: Path, probes: dict) -> None:
    runs = [
        {**engine, "seed": seed, "right": right}
        for engine, rights in ((TORCH, ([True], [False])), (HF, ([False], [False])))
        for seed, right in enumerate(rights)
    ]
    found = compared(tmp_path, *runs)
    assert [len(each.runs) for each in found.contenders] == [2, 2]
    pool = found.tests[0]
    assert (pool.seeds, pool.total, pool.only_a, pool.only_b) == (2, 2, 1, 0)
    assert found.differing_total == 1 and found.examples[0].seed == 0
    assert {check.seeds for check in found.gate} == {(0, 1)}


def test_seeds_of_one_engine_alone_are_nothing_to_compare(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(seed), seed=seed).path for seed in (0, 1)]
    with pytest.raises(KerasftError, match="differ by their seeds alone"):
        compare_runs(runs, tmp_path / "out")


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run").path
    with pytest.raises(KerasftError, match="given twice"):
        compare_runs([run, run / ".." / "run"], tmp_path / "out")
