"""The programs of docs/logging.md, run on the tiny model with a stand-in for wandb."""

import re
import sys
import types
from pathlib import Path

import pytest

import kerasft
from tests.small import say_rows, small_recipe, write_rows

PAGE = Path(__file__).parents[1] / "docs" / "logging.md"


class Run:
    """What the programs use of a `wandb.Run`."""

    id = "abc"

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.summary: dict[str, str] = {}
        self.finished = False

    def log(self, values, step):
        assert step >= max((each for each, _ in self.logged), default=0)  # wandb drops older ones
        self.logged.append((step, values))

    def finish(self):
        self.finished = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()


# Without the mark `keras`: what a reporter and a callback are told is the same on each backend.
def test_both_programs_log_a_run(tmp_path, monkeypatch, backend):
    runs: list[Run] = []
    before = "tensorflow" in sys.modules  # by another test of this process

    def init(**_):
        runs.append(Run())
        return runs[-1]

    asked = {}
    result = types.SimpleNamespace(status="finished")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
        patch.setattr(kerasft, "train", lambda *_, **named: asked.update(named) or result)
        for program in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
            exec(compile(program, str(PAGE), "exec"), {})
    assert asked.keys() == {"out", "reporter", "callbacks"}
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    source = write_rows(tmp_path / "rows.jsonl", say_rows(12))
    recipe = small_recipe(source, data__validation=2, train__epochs=2, eval__samples=0)
    asked["out"] = tmp_path / "run"
    lines = kerasft.train(recipe, backend=backend, **asked).run.metrics()
    reported, called = runs
    steps = {step: values for step, values in reported.logged if "train/loss" in values}
    assert {step: values["train/loss"] for step, values in steps.items()} == pytest.approx(
        {line["step"]: line["loss"] for line in lines}
    )
    assert [step for step, values in reported.logged if "validation/loss" in values] == [0, 5, 10]
    assert called.finished and called.logged[-1][0] == len(lines)
    assert called.logged[-1][1]["epoch/loss"] == pytest.approx(lines[-1]["loss"])
    assert "epoch/val_loss" in called.logged[-1][1]
    assert before or "tensorflow" not in sys.modules
