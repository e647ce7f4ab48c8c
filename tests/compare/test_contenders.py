"""Which runs belong together, and in what they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerasft.compare.contenders import (
    Entrant,
    Group,
    grouped,
    reference_of,
    seed_differences,
    setting_differences,
    unfinished,
    version_differences,
)
from tests.compare.made import made_run


def group(folder: Path, name: str, **settings: Any) -> Group:
    entrant = Entrant.of(made_run(folder / name, **settings))
    return Group(name, {entrant.seed: entrant})


def test_runs_of_one_engine_that_differ_by_seed_are_one_contender(tmp_path: Path) -> None:
    runs = [
        made_run(tmp_path / "b", seed=1),
        made_run(tmp_path / "a", seed=0),
        made_run(tmp_path / "c", backend="jax"),
        made_run(tmp_path / "d", engine="hf"),
    ]
    found = grouped([Entrant.of(run) for run in runs])
    assert [each.name for each in found] == ["keras-torch", "keras-jax", "hf"]
    assert list(found[0].entrants) == [0, 1]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"lora__layout": "keras"}, ["keras-torch (peft layout)", "keras-torch (keras layout)"]),
        ({"lora__rank": 8}, ["a", "b"]),
        ({}, ["a", "b"]),
        ({"record": {"device": {"kind": "cpu", "name": "EPYC"}}}, ["a", "b"]),
    ],
)
def test_runs_of_one_engine_that_differ_otherwise_are_not(
    settings: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    runs = [made_run(tmp_path / "a"), made_run(tmp_path / "b", **settings)]
    assert [each.name for each in grouped([Entrant.of(run) for run in runs])] == names


def test_a_run_that_failed_before_it_saw_the_device_stays_with_its_seeds(tmp_path: Path) -> None:
    early = {"status": "failed", "why": "no memory", "device": None, "dtype": None}
    runs = [made_run(tmp_path / "a", seed=1, record=early), made_run(tmp_path / "b")]
    (found,) = grouped([Entrant.of(run) for run in runs])
    assert unfinished(found) == ["seed 1 is not finished (failed: no memory)"]


def test_the_first_that_is_finished_is_the_reference(tmp_path: Path) -> None:
    stopped = group(tmp_path, "a", record={"status": "stopped"})
    assert reference_of([stopped, group(tmp_path, "b", backend="jax")]).name == "b"
    assert reference_of([stopped]).name == "a"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train__batch_size": 4}, "train.batch_size is 4, a has 8"),
        ({"record": {"dtype": "float32"}}, "the base is in float32, that of a in bfloat16"),
        ({"model__dtype": "float32", "record": {"dtype": "float32"}}, "model.dtype is 'float32'"),
        ({"record": {"device": {"kind": "cpu", "name": "EPYC"}}}, "trained on cpu EPYC, a on cuda"),
        ({"record": {"data": {"content_hash": "x"}}}, "its rows are not those of a"),
    ],
)
def test_a_difference_is_said_once(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    (line,) = setting_differences(group(tmp_path, "a"), group(tmp_path, "b", **settings))
    assert line.startswith(said)


def test_seed_description_and_engine_are_no_difference(tmp_path: Path) -> None:
    ours = group(tmp_path, "a")
    theirs = group(tmp_path, "b", seed=7, engine="hf", description="another")
    assert setting_differences(ours, theirs) == []
    assert seed_differences(ours, theirs) == ["its seeds are 7, a has 0"]


def test_versions_are_told(tmp_path: Path) -> None:
    theirs = group(tmp_path, "b", record={"versions": {"torch": "2.13.0", "jax": "0.10.2"}})
    assert version_differences(group(tmp_path, "a"), theirs) == ["torch 2.13.0, a has 2.11.0"]
