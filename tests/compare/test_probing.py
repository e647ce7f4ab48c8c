"""Probes are kept whole, taken up only for the run that they are of, and look everywhere."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kerasft.bench.processes import Ended
from kerasft.compare import probes
from kerasft.compare.probes import Wanted, key_of, probes_of
from kerasft.compare.probing import (
    MOVED,
    Fed,
    Probe,
    add_to,
    moved,
    some_logits,
    spread_out,
    tensor_hash,
)
from kerasft.errors import RunError
from tests.compare.made import made_probe, made_run


def test_a_probe_is_read_as_it_was_written(tmp_path: Path) -> None:
    probe = made_probe(moved_loss=0.1 + 0.2)
    probe.save(tmp_path / "probes" / "one.safetensors")
    found = Probe.load(tmp_path / "probes" / "one.safetensors")
    for field in dataclasses.fields(Probe):
        ours, theirs = (getattr(each, field.name) for each in (probe, found))
        if isinstance(ours, dict) and field.name.endswith("gradients"):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        elif isinstance(ours, np.ndarray):
            assert np.array_equal(ours, theirs)
        else:
            assert ours == theirs
    assert found.parameters == 14
    assert [path.name for path in (tmp_path / "probes").iterdir()] == ["one.safetensors"]


def test_what_is_no_probe_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    with pytest.raises(RunError, match="is no probe of this kerasft"):
        Probe.load(tmp_path / "cut.safetensors")


def test_a_probe_is_taken_up_for_its_own_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [made_run(tmp_path / name) for name in ("one", "two")]
    wanted = [Wanted(run, run.path.with_suffix(".safetensors"), tmp_path / "log") for run in runs]
    started = []

    def run_modules(tasks: Sequence[tuple[Sequence[str], Path]], at_once: int) -> list[Ended]:
        for arguments, _ in tasks:
            started.append(Path(arguments[1]).name)
            run = next(run for run in runs if str(run.path) == arguments[1])
            made_probe(key=key_of(run), loss=float(len(started))).save(Path(arguments[2]))
        return [Ended("ok", "", {}) for _ in tasks]

    monkeypatch.setattr(probes, "run_modules", run_modules)
    for _ in range(2):
        assert [probe.loss for probe in probes_of(wanted, 2)] == [1.0, 2.0]
    runs[0].update_run(base={"fingerprint": "another"})
    assert [probe.loss for probe in probes_of(wanted, 2)] == [3.0, 2.0]
    assert started == ["one", "two", "one"]


def test_a_process_that_fails_gives_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended("failed", "RunError: the rows have changed", {})
    monkeypatch.setattr(probes, "run_modules", lambda tasks, at_once: [ended for _ in tasks])
    run = made_run(tmp_path / "run")
    assert probes_of([Wanted(run, tmp_path / "run.safetensors", tmp_path / "log")], 1) == [
        "RunError: the rows have changed"
    ]


def test_a_hash_of_what_is_fed_is_of_values_and_shapes() -> None:
    def digest(fed: Fed) -> str:
        found = hashlib.sha256()
        add_to(found, fed)
        return found.hexdigest()

    ids, places = np.arange(6).reshape(2, 3), np.arange(3)
    fed = Fed(ids, ids, places, places)
    assert digest(fed) == digest(Fed(*(each.astype(np.int32) for each in vars(fed).values())))
    changed = dataclasses.replace(fed, position_ids=ids + 1)
    reshaped = dataclasses.replace(fed, token_ids=ids.reshape(3, 2))
    assert len({digest(each) for each in (fed, changed, reshaped)}) == 3
    assert tensor_hash(ids.astype(np.float32)) != tensor_hash(ids.T.astype(np.float32))


def test_few_things_are_all_looked_at_and_many_from_end_to_end() -> None:
    assert spread_out(3).tolist() == [0, 1, 2]
    many = spread_out(1000, 5)
    assert many[0] == 0 and many[-1] == 999 and np.ptp(np.diff(many)) <= 1


def test_the_second_point_moves_b_alone_and_everyone_alike() -> None:
    start = {"x/a": np.ones((4, 2), np.float32), "x/b": np.zeros((2, 2000), np.float32)}
    first, second = moved(start), moved(dict(reversed(start.items())))
    assert np.array_equal(first["x/a"], start["x/a"])
    assert np.array_equal(first["x/b"], second["x/b"])
    assert first["x/b"].std() == pytest.approx(MOVED, rel=0.05)
    assert not np.array_equal(moved({"y/b": start["x/b"]})["y/b"], first["x/b"])


def test_every_logit_has_its_part_in_what_is_kept() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 10_000)).astype(np.float32)
    kept = some_logits(logits, np.array([17, 18]))
    assert kept.shape == (2, 4096 + 2)
    assert kept[0, -2] == logits[0, 17] and kept[1, -2] == logits[1, 18]
    assert kept[:, -1] == pytest.approx(np.log(np.exp(logits).sum(axis=1)), rel=1e-5)
