"""`train --engine hf` and `trl` on the tiny Gemma: the run folder, resuming, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kerasft
from kerasft import engines
from kerasft.console import SilentReporter
from kerasft.engine import recorder
from kerasft.errors import KerasftError, RunError
from kerasft.models import adapter as adapters
from kerasft.recipe import Recipe, to_toml
from kerasft.runs import RECORD, RunFolder
from tests.small import intricate_recipe, say_rows, write_rows

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")


@pytest.fixture(autouse=True)
def other_tests_import_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process; the one test that starts its own shows what is not imported."""
    monkeypatch.setattr(engines, "_STRANGERS", ())
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.0)  # a step's line is written after it


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf")


@pytest.fixture(scope="module")
def recipe(home: Path) -> Recipe:
    """Packing, dropout, accumulation, validation, and six steps in three epochs."""
    source = write_rows(home / "rows.jsonl", say_rows(13))
    return intricate_recipe(source, lora__layout="peft", train__epochs=3, train__validate_every=2)


@pytest.fixture(scope="module")
def whole(home: Path, recipe: Recipe) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "_STRANGERS", ())
        return kerasft.train(recipe, engine="hf", out=home / "whole").run


class StopsAt(SilentReporter):
    """Sends SIGTERM once a step's line is written."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, line: Mapping[str, Any]) -> None:
        if line["step"] == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def outcome(run: RunFolder) -> dict[str, Any]:
    """Everything that an interruption must not change."""
    record = run.record()
    return {
        "tensors": {
            name: value.tolist() for name, value in adapters.read_tensors(run.adapter).items()
        },
        "step": adapters.read_info(run.adapter).step,
        "lines": [
            [line[name] for name in ("step", "loss", "accuracy", "learning_rate", "gradient_norm")]
            for line in run.metrics()
        ],
        **{key: record[key] for key in ("status", "steps", "tokens", "validation", "samples")},
    }


def test_the_run_folder_is_that_of_any_engine(whole: RunFolder, recipe: Recipe) -> None:
    record = whole.record()
    assert (record["engine"], record["backend"], record["status"]) == ("hf", "torch", "finished")
    assert record.keys() - {"schema_version"} == RECORD.keys()
    assert [line["step"] for line in whole.metrics()] == [1, 2, 3, 4, 5, 6]
    assert [each["step"] for each in record["validation"]["all"]] == [0, 2, 4, 6]
    assert record["validation"]["best"] < record["validation"]["before"]
    assert record["last_loss"] < record["first_loss"]
    info = adapters.read_info(whole.adapter)
    assert info.lora == recipe.lora and info.fingerprint == record["base"]["fingerprint"]
    parts = sum(value.size for value in adapters.read_tensors(whole.adapter).values())
    assert parts == record["parameters"]["trained"]
    assert all("after" in sample for sample in record["samples"])


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    home: Path, recipe: Recipe, whole: RunFolder
) -> None:
    """Dropout and the moments included."""
    result = kerasft.train(recipe, engine="hf", out=home / "stopped", reporter=StopsAt(3))
    assert (result.status, result.record["steps"]) == ("stopped", 3)
    assert result.why.endswith("go on with --resume")
    again = kerasft.resume(result.run.path)
    assert (again.record["engine"], again.record["attempts"]) == ("hf", 2)
    assert outcome(again.run) == outcome(whole)


def test_an_adapter_may_be_the_start(home: Path, recipe: Recipe, whole: RunFolder) -> None:
    settings = {"lora.init_from": str(whole.path), "train.max_steps": 1, "eval.samples": 0}
    result = kerasft.train(recipe, engine="hf", out=home / "started", **settings)
    [before, *_] = result.record["validation"]["all"]
    assert before["loss"] == pytest.approx(whole.record()["validation"]["last"], rel=1e-6)


def test_an_update_that_is_not_finite_is_left_out(home: Path, recipe: Recipe) -> None:
    settings = {
        "train.on_bad_step": "skip",
        "train.learning_rate": 1e30,
        "train.clip_norm": 0.0,
        "data.validation": 0,
        "eval.samples": 0,
    }
    result = kerasft.train(recipe, engine="hf", out=home / "skipping", **settings)
    skipped = [each["step"] for each in result.record["skipped"]]
    assert skipped and skipped[0] > 1
    tensors = adapters.read_tensors(result.run.adapter)
    assert all(np.isfinite(value).all() for value in tensors.values())
    settings["train.on_bad_step"] = "stop"
    with pytest.raises(RunError, match="The last checkpoint is whole"):
        kerasft.train(recipe, engine="hf", out=home / "failing", **settings)


@needs_trl
def test_trl_takes_the_same_steps(home: Path, recipe: Recipe) -> None:
    settings = {"lora.dropout": 0.0, "train.max_steps": 5, "train.warmup": 2, "eval.samples": 0}
    runs = [
        kerasft.train(recipe, engine=engine, out=home / f"five-{engine}", **settings)
        for engine in ("hf", "trl")
    ]
    one, other = (run.run.metrics() for run in runs)
    names = ("loss", "accuracy", "learning_rate", "gradient_norm")
    for ours, theirs in zip(one, other, strict=True):
        for name in ("step", "tokens", "supervised_tokens"):
            assert ours[name] == theirs[name]
        for name in names:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), name
    records = [run.record for run in runs]
    for ours, theirs in zip(*(record["validation"]["all"] for record in records), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    assert records[1]["engine"] == "trl" and "trl" in records[1]["versions"]
    assert not list(runs[1].run.checkpoints.glob("*"))
    with pytest.raises(RunError, match=r"trained by TRL.*start it anew"):
        kerasft.resume(runs[1].run.path, settings={"train.max_steps": 6})


@needs_trl
def test_trl_stops_when_it_is_asked_to(home: Path, recipe: Recipe) -> None:
    result = kerasft.train(
        recipe, engine="trl", out=home / "trl-stopped", reporter=StopsAt(3), **{"eval.samples": 0}
    )
    assert (result.status, result.why, result.record["steps"]) == ("stopped", "asked to stop", 3)


def test_what_a_twin_cannot_do_is_said_at_once(recipe: Recipe, monkeypatch) -> None:
    from kerasft.recipe import override

    other = override(recipe, {"lora.layout": "keras", "train.on_bad_step": "skip"})
    monkeypatch.setattr(engines, "_STRANGERS", ("json",))
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(KerasftError) as refused:
        engines.check("trl", "jax", other, callbacks=True)
    for words in (
        "the backend is jax",
        "--set lora.layout=peft",
        "Keras callbacks",
        "train.on_bad_step = stop",
        "pip install 'kerasft[trl]'",
        "json imported in this process",
        "--engine trl",
    ):
        assert words in str(refused.value)
    engines.check("keras", "jax", other, callbacks=True)
    with pytest.raises(KerasftError, match="expected keras, hf, trl"):
        engines.check("unsloth", "torch", other)


def test_a_process_that_trains_a_twin_imports_no_keras(home: Path, recipe: Recipe) -> None:
    """From the command line to the last line of run.json; the bench's contenders neither."""
    (home / "recipe.toml").write_text(to_toml(recipe), "utf-8")
    arguments = ["train", "--recipe", str(home / "recipe.toml"), "--engine", "hf"]
    arguments += ["--out", str(home / "command"), "--set", "train.max_steps=1", "--json"]
    code = (
        "import json, sys\n"
        "from kerasft.cli.main import main\n"
        "sys.argv = ['kerasft', *json.loads(sys.argv[1])]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "import kerasft.bench.hf_contender\n"
        "found = {'keras', 'keras_hub', 'jax', 'tensorflow'} & set(sys.modules)\n"
        "print(sorted(found), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert json.loads(done.stdout)["engine"] == "hf"
