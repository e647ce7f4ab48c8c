"""A run as Markdown: its numbers, its scores with intervals, and no markup of a model's."""

from kerasft.kaggle.page import markdown
from kerasft.recipe import load
from kerasft.records import write_json
from kerasft.runs import RunFolder


def rate(count: int, of: int, low: float, high: float) -> dict:
    return {"count": count, "of": of, "rate": count / of, "low": low, "high": high}


def test_a_finished_run(tmp_path):
    run = RunFolder.create(tmp_path / "run", load("sql"), "sql")
    run.end(
        "finished",
        steps=1200,
        planned_steps=1200,
        first_loss=2.5,
        last_loss=0.25,
        tokens_per_second=4321.0,
        backend="torch",
        dtype="float32",
        device={"kind": "cuda", "name": "Tesla T4"},
        samples=[
            {
                "prompt": "How many | singers?",
                "expected": "SELECT count(*)\nFROM singer",
                "before": "<img src=x>[a](javascript:x)",
                "after": "x" * 1000,
            }
        ],
    )
    run.eval.mkdir()
    write_json(
        run.eval / "validation.json",
        {
            "rows": 50,
            "tuned": {"rows": 50, "execution_accuracy": rate(15, 50, 0.19, 0.44)},
            "base": {"rows": 50, "execution_accuracy": rate(0, 50, 0.0, 0.07)},
        },
    )
    lines = markdown(run.path).splitlines()
    assert "| optimizer steps | 1,200 of 1,200 |" in lines
    assert "| loss | 2.500 → 0.250 |" in lines
    assert "| device | Tesla T4, torch, float32 |" in lines
    assert "| execution accuracy | 30.0% (19.0% to 44.0%) | 0.0% (0.0% to 7.0%) |" in lines
    assert any(line.startswith("|  | tuned | base |") for line in lines)
    (after,) = (line for line in lines if line.startswith("| after"))
    assert len(after) < 500 and after.endswith("… |")
    text = "\n".join(lines)
    for markup in ("<img", "](javascript", "| singers", "count(*)"):
        assert markup not in text
    assert "| expected | SELECT count(&#42;) FROM singer |" in lines


def test_a_run_that_was_stopped_before_its_first_step(tmp_path):
    run = RunFolder.create(tmp_path / "run", load("sql"), "sql")
    run.end("stopped", "asked to stop")
    assert "| status | stopped: asked to stop |" in markdown(run.path)
