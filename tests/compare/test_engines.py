"""A comparison is trained run by run, goes on where it was cut, and survives a failure."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from kerasft.bench.processes import Ended
from kerasft.compare import comparison, engines
from kerasft.compare.engines import Plan, check
from kerasft.errors import KerasftError
from kerasft.recipe import load, to_toml
from kerasft.runs import RunFolder
from tests.compare.made import add_evaluation, made_probe, made_run, recipe
from tests.evaluating.test_asked import PLAIN

ASKED = replace(PLAIN, run_or_model="RUN", limit=4)


@dataclass
class Machine:
    """Stands for the processes: what was started, and what comes of it.

    Attributes:
        started: first words of each command line.
        fails: names of run folders whose training fails.
    """

    started: list[list[str]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)

    def run(self, arguments: Sequence[str], log: Path, timeout: float | None = None) -> Ended:
        words = list(arguments)
        self.started.append(words)
        if words[1] == "eval":
            run = RunFolder(Path(words[2]))
            add_evaluation(run, [True, False])
            file = run.eval / "rows.json"
            file.write_text(
                file.read_text().replace(f"kerasft eval {run.path}", " ".join(words)), "utf-8"
            )
            return Ended("ok", "", {})
        resumed = "--resume" in words
        folder = Path(words[words.index("--resume" if resumed else "--out") + 1])
        if folder.name in self.fails:
            return Ended("failed", "ModelError: no such base", {})
        if resumed:
            RunFolder(folder).end("finished")
            return Ended("ok", "", {})
        given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        settings = load(words[words.index("--recipe") + 1], given)
        engine = words[words.index("--engine") + 1] if "--engine" in words else "keras"
        backend = words[words.index("--backend") + 1] if "--backend" in words else "torch"
        changed = {"lora__layout": settings.lora.layout, "train__max_steps": 3}
        made_run(folder, engine=engine, backend=backend, seed=settings.train.seed, **changed)
        return Ended("ok", "", {})

    def run_many(self, tasks: Sequence[tuple[Sequence[str], Path]], at_once: int) -> list[Ended]:
        return [self.run(arguments, log) for arguments, log in tasks]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(engines, "run_module", made.run)
    monkeypatch.setattr(engines, "run_modules", made.run_many)
    monkeypatch.setattr(
        comparison, "probes_of", lambda wanted, at_once: [made_probe() for _ in wanted]
    )
    return made


@pytest.fixture
def toml(tmp_path: Path) -> str:
    path = tmp_path / "made.toml"
    path.write_text(to_toml(recipe(lora__layout="keras", train__max_steps=3)), "utf-8")
    return str(path)


def plan(toml: str, out: Path, *names: str, seeds: int = 1, **others: object) -> Plan:
    fields = {"overrides": (), "evaluations": (ASKED,)} | others
    return Plan(recipe=toml, engines=names, seeds=seeds, out=out, **fields)


def test_every_engine_and_seed_is_trained_and_scored(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    out = tmp_path / "out"
    found = comparison.compare_engines(plan(toml, out, "keras-jax", "trl", seeds=2))
    trained = [words for words in machine.started if words[1] == "train"]
    assert trained[0][:6] == ["kerasft", "train", "--recipe", toml, "--backend", "jax"]
    assert trained[1][4:6] == ["--engine", "trl"] and "--backend" not in trained[1]
    assert "lora.layout=peft" in trained[0] and "train.seed=1" in trained[2]
    scored = [words for words in machine.started if words[1] == "eval"]
    assert len(scored) == 4 and all(words[-2:] == ["--backend", "torch"] for words in scored)
    assert [(each.name, len(each.runs)) for each in found.contenders] == [
        ("keras-jax", 2),
        ("trl", 2),
    ]
    assert found.ranked and "the recipe's own is keras" in found.notes[0]
    assert found.commands == (
        f"kerasft compare --recipe {toml} --engines keras-jax,trl --seeds 2 --eval '--limit 4' "
        f"--out {out}",
    )


def test_what_is_done_is_not_done_again_and_parts_come_together(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    out = tmp_path / "out"
    alone = comparison.compare_engines(plan(toml, out, "hf"))
    assert not alone.ranked and [each.name for each in alone.contenders] == ["hf"]
    before = len(machine.started)
    found = comparison.compare_engines(plan(toml, out, "keras-torch", "hf"))
    assert len(machine.started) == before + 2
    assert [each.name for each in found.contenders] == ["keras-torch", "hf"] and found.ranked
    comparison.compare_engines(plan(toml, out, "keras-torch", "hf"))
    assert len(machine.started) == before + 2


def test_one_that_fails_is_told_and_the_others_go_on(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    machine.fails = {"keras-torch-seed-0"}
    names = ("keras-torch", "keras-jax", "hf")
    found = comparison.compare_engines(plan(toml, tmp_path / "out", *names))
    failed, jax, hf = found.contenders
    assert failed.runs[0].status == "not run" and "no such base" in failed.runs[0].why
    assert found.reference == "keras-jax" and jax.ranked and hf.ranked and not failed.ranked
    machine.fails = set()
    mended = comparison.compare_engines(plan(toml, tmp_path / "out", *names))
    assert mended.contenders[0].ranked


def test_nothing_to_compare_is_an_error_that_keeps_what_there_is(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    machine.fails = {"keras-torch-seed-0", "hf-seed-0"}
    with pytest.raises(KerasftError, match=r"no run could be compared: .*no such base"):
        comparison.compare_engines(plan(toml, tmp_path / "out", "keras-torch", "hf"))
    machine.fails = {"hf-seed-0"}
    with pytest.raises(KerasftError, match=r"nothing to compare: .*hf: seed 0 did not run"):
        comparison.compare_engines(plan(toml, tmp_path / "out", "keras-torch", "hf"))
    assert (tmp_path / "out" / "compare.json").is_file()


def test_a_run_that_was_cut_goes_on_from_its_checkpoint(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    out = tmp_path / "out"
    comparison.compare_engines(plan(toml, out, "keras-torch", "trl", evaluations=()))
    for name in ("keras-torch", "trl"):
        run = RunFolder(out / "runs" / f"{name}-seed-0")
        run.update_run(status="running")
        (run.checkpoints / "step-000002").mkdir(parents=True)
    machine.started.clear()
    comparison.compare_engines(plan(toml, out, "keras-torch", "trl", evaluations=()))
    ours, theirs = machine.started
    assert ours == ["kerasft", "train", "--resume", str(out / "runs" / "keras-torch-seed-0")]
    # TRL keeps no checkpoints: its run is made anew.
    assert "--out" in theirs
    shutil.rmtree(out / "runs" / "keras-torch-seed-0" / "checkpoints")
    RunFolder(out / "runs" / "keras-torch-seed-0").update_run(status="running")
    machine.started.clear()
    comparison.compare_engines(plan(toml, out, "keras-torch", "trl", evaluations=()))
    assert "--out" in machine.started[0] and len(machine.started) == 1


def test_runs_of_other_settings_are_not_taken_for_these(
    toml: str, tmp_path: Path, machine: Machine
) -> None:
    out = tmp_path / "out"
    comparison.compare_engines(plan(toml, out, "keras-torch"))
    changed = plan(toml, out, "keras-torch", "hf", overrides=("train.batch_size=2",))
    with pytest.raises(KerasftError, match=r"was trained with another train\.batch_size"):
        check(changed)


def test_the_keras_layout_is_for_the_engine_keras_alone(toml: str, tmp_path: Path) -> None:
    layout = ("lora.layout=keras",)
    with pytest.raises(KerasftError, match="hf, trl train the peft layout alone"):
        check(plan(toml, tmp_path, "keras-torch", "hf", "trl", overrides=layout))
    wanted = plan(toml, tmp_path, "keras-torch", "keras-jax", overrides=layout)
    assert check(wanted) == ["all adapters are scored by one stack: Keras on torch"]
    assert wanted.settings(3) == ["lora.layout=keras", "train.seed=3"]
