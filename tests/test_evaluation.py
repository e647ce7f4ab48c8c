"""`kerasft.evaluate` on rows with known answers."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import kerasft
from kerasft import generation
from kerasft.console import SilentReporter
from kerasft.errors import DataError, KerasftError
from kerasft.judging import Grade
from kerasft.models import sources
from kerasft.recipe import override
from kerasft.runs import RunFolder
from tests.judging.stub import Reply, serve, verdict
from tests.small import TINY, say_rows, small_recipe, write_rows

pytestmark = pytest.mark.keras


class Notes(SilentReporter):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def scored(tiny_run, tmp_path_factory):
    """Tuned and base on the held-out rows."""
    out = tmp_path_factory.mktemp("scored")
    return out, kerasft.evaluate(tiny_run.result.run.path, base=True, out=out)


@pytest.fixture
def mine(tmp_path):
    return write_rows(tmp_path / "mine.jsonl", say_rows(7))


def test_scores_and_predictions_are_written(scored, tiny_run):
    out, results = scored
    assert results["files"] == [str(out / "validation.json")]
    written = json.loads((out / "validation.json").read_text("utf-8"))
    assert {name: results[name] for name in written if name != "schema_version"} == {
        name: value for name, value in written.items() if name != "schema_version"
    }
    assert written["schema_version"] == 1
    assert written["rows"] == written["tuned"]["rows"] == written["base"]["rows"] == 3
    assert written["model"]["adapter_step"] == 9
    assert written["data"]["source"] == "rows.jsonl"
    assert written["data"]["content_hash"] == tiny_run.result.record["data"]["content_hash"]
    lines = (out / "validation.predictions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == results["predictions"]
    assert sorted(file.name for file in out.iterdir()) == [
        "validation.json",
        "validation.predictions.jsonl",
    ]


def test_the_results_say_how_to_have_them_again(scored, tiny_run, backend):
    out, results = scored
    run = tiny_run.result.run.path
    assert results["command"] == f"kerasft eval {run} --out {out} --base"
    assert results["decoding"]["strategy"] == "greedy"
    assert results["decoding"]["max_new_tokens"] == 8 and results["decoding"]["batch_size"] == 4
    assert results["backend"] == backend and results["versions"]["keras"]
    rate = results["decoding"]["tuned"]
    assert rate["rows"] == 3 and rate["resumed"] == 0
    assert rate["rows_per_second"] == pytest.approx(3 / rate["seconds"], rel=0.01)
    assert len(results["prompts"]) == len(results["model"]["adapter"]) == 64


def test_the_base_beside_it_is_the_untouched_one(scored, tiny_run, tmp_path, backend):
    _, results = scored
    predictions = results["predictions"]
    assert all(each["tuned"]["answer"] != each["base"]["answer"] for each in predictions)
    # The rows of `samples` are the first held-out ones, answered by the live model.
    for sample, prediction in zip(tiny_run.result.record["samples"], predictions, strict=False):
        assert prediction["instruction"] == sample["prompt"]
        assert prediction["tuned"]["answer"] == sample["after"]
        assert prediction["base"]["answer"] == sample["before"]

    bare = kerasft.evaluate(str(TINY), recipe=tiny_run.recipe, out=tmp_path, backend=backend)
    assert "tuned" not in bare and bare["model"]["adapter_step"] is None
    assert "comparison" not in bare
    weighed, beside = bare["base"].pop("perplexity"), dict(results["base"])
    assert weighed["perplexity"] == pytest.approx(beside.pop("perplexity")["perplexity"], rel=1e-5)
    assert bare["base"] == beside
    answers = [each["base"]["answer"] for each in predictions]
    assert [each["base"]["answer"] for each in bare["predictions"]] == answers


def test_perplexity_is_that_of_the_validation_loss_while_training(scored, tiny_run):
    _, results = scored
    recorded = tiny_run.result.record["validation"]
    for contender, loss in (("base", recorded["before"]), ("tuned", recorded["best"])):
        found = results[contender]["perplexity"]
        assert found["nats_per_token"] == pytest.approx(loss, rel=1e-5)
        assert found["perplexity"] == pytest.approx(np.exp(loss), rel=1e-5)
        assert found["of"] == 3 and found["dropped"] == 0
        nats = sum(line[contender]["nats"] for line in results["predictions"])
        assert nats == pytest.approx(loss * found["tokens"], rel=1e-5)
    compared = results["comparison"]["perplexity"]
    assert compared["difference"]["mean"] == pytest.approx(
        recorded["best"] - recorded["before"], rel=1e-4
    )
    assert compared["perplexity_ratio"]["high"] < 1


def test_what_tuning_changed_is_measured_row_by_row(scored):
    _, results = scored
    means = [results[name]["rouge_l"]["mean"] for name in ("base", "tuned")]
    found = results["comparison"]["rouge_l"]["difference"]
    assert found["mean"] == pytest.approx(means[1] - means[0])
    assert found["of"] == 3


@pytest.mark.once
def test_too_little_memory_is_told_with_a_remedy(tiny_run, mine, tmp_path, monkeypatch):
    class OutOfMemoryError(RuntimeError):
        """What torch raises, by its name."""

    def full(*_, **__):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(generation, "answer_rows", full)
    run = tiny_run.result.run.path
    with pytest.raises(KerasftError, match=r"out of memory while.*--set eval\.batch_size=2"):
        kerasft.evaluate(run, data=mine, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.once
def test_a_file_of_rows_is_scored_the_same_twice(tiny_run, tmp_path):
    """A run's results lie in the run unless told otherwise."""
    source = RunFolder.open(shutil.copytree(tiny_run.result.run.path, tmp_path / "run"))
    file = write_rows(tmp_path / "mine.jsonl", say_rows(5))
    first = kerasft.evaluate(source.path, data=file, limit=2, out=tmp_path / "one")
    again = kerasft.evaluate(source.path, data=file, limit=2)
    assert first["rows"] == 2 and first["data"]["which"] == "all rows, the first 2"
    name = "mine.predictions.jsonl"
    assert (tmp_path / "one" / name).read_bytes() == (source.eval / name).read_bytes()
    assert first["tuned"] == again["tuned"]


def stop_after(monkeypatch, batches):
    """Ctrl-C while the next batch after these is decoded; the rows of every call are listed."""
    calls, answer_rows = [], generation.answer_rows

    def stopped(model, rows, **named):
        calls.append(len(rows))
        if len(calls) > batches:
            raise KeyboardInterrupt
        return answer_rows(model, rows, **named)

    monkeypatch.setattr(generation, "answer_rows", stopped)
    return calls


def test_a_stopped_evaluation_goes_on_and_ends_in_the_same_bytes(
    tiny_run, mine, tmp_path, monkeypatch
):
    run, small = tiny_run.result.run.path, {"eval.batch_size": 2}
    asked = {"data": mine, "base": True, "settings": small}
    whole = kerasft.evaluate(run, **asked, out=tmp_path / "whole")

    notes = Notes()
    with monkeypatch.context() as patch:
        stop_after(patch, 5)  # of four batches of the tuned and four of the base
        with pytest.raises(KeyboardInterrupt):
            kerasft.evaluate(run, **asked, out=tmp_path / "parts", reporter=notes)
    partial = tmp_path / "parts" / "mine.partial.jsonl"
    assert partial.exists() and not (tmp_path / "parts" / "mine.json").exists()
    assert str(partial) in notes.said[-2]
    assert notes.said[-1] == (
        f"kerasft eval {run} --data {mine} --out {tmp_path / 'parts'} --base "
        "--set eval.batch_size=2"
    )
    with monkeypatch.context() as patch:
        calls = stop_after(patch, 99)
        rest = kerasft.evaluate(run, **asked, out=tmp_path / "parts", reporter=notes)
    assert calls == [2, 2, 1]
    assert rest["decoding"]["tuned"]["resumed"] == 7
    assert rest["decoding"]["base"]["resumed"] == 2
    name = "mine.predictions.jsonl"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert rest["comparison"] == whole["comparison"]
    assert not partial.exists()


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_that_does(tiny_run, tmp_path):
    """The command line in a process of its own, interrupted after its third answer."""
    source = write_rows(tmp_path / "mine.jsonl", say_rows(200))
    line = ["eval", str(tiny_run.result.run.path), "--data", str(source), "--limit", "0"]
    line += ["--out", str(tmp_path / "out"), "--set", "eval.batch_size=1", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kerasft", *line], stderr=subprocess.PIPE, text=True
    )
    partial = tmp_path / "out" / "mine.partial.jsonl"
    while process.poll() is None and not (partial.exists() and len(_lines(partial)) > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    kept = len(_lines(partial)) - 1
    command = next(text for text in said.splitlines() if text.startswith("kerasft eval "))
    rest = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(rest.stdout)["decoding"]["tuned"]["resumed"] == kept
    assert len(_lines(tmp_path / "out" / "mine.predictions.jsonl")) == 200


def _lines(path):
    return path.read_text("utf-8").splitlines()


@pytest.mark.once
def test_a_changed_setting_starts_anew_and_says_so(tiny_run, mine, tmp_path, monkeypatch):
    run, notes = tiny_run.result.run.path, Notes()
    asked = {"data": mine, "out": tmp_path / "out", "perplexity": False}
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            kerasft.evaluate(run, **asked)
    longer = {"eval.max_new_tokens": 5}
    found = kerasft.evaluate(run, **asked, settings=longer, reporter=notes)
    assert found["decoding"]["tuned"]["resumed"] == 0
    assert notes.said == ["starting anew: max_new_tokens changed since mine.partial.jsonl"]
    assert "perplexity" not in found["tuned"]


@pytest.mark.once
def test_what_was_forgotten_of_another_task(tiny_run, tmp_path):
    rows = [
        {"question": f"How many {n}?", "context": "CREATE TABLE t (a)", "sql": f"SELECT {n} FROM t"}
        for n in range(6)
    ]
    file = write_rows(tmp_path / "sql.jsonl", rows)
    found = kerasft.evaluate(
        tiny_run.result.run.path, forgetting=file, limit=4, out=tmp_path / "out"
    )
    forgotten = found["forgetting"]
    assert (forgotten["task"], forgotten["rows"]) == ("text_to_sql", 4)
    assert forgotten["data"]["source"] == "sql.jsonl"
    # A model that learned one sentence by heart finds SQL less likely than it did.
    assert forgotten["tuned"]["perplexity"] > forgotten["base"]["perplexity"]
    ratio = forgotten["comparison"]["perplexity_ratio"]["ratio"]
    assert ratio == pytest.approx(
        forgotten["tuned"]["perplexity"] / forgotten["base"]["perplexity"]
    )


@pytest.mark.once
def test_invalid_sql_is_tried_again_and_scored_apart(tmp_path, backend):
    rows = [
        {
            "question": f"How many {n}?",
            "context": "CREATE TABLE t (a); INSERT INTO t VALUES (1);",
            "sql": f"SELECT a + {n} FROM t",
            "difficulty": "easy" if n < 2 else "hard",
        }
        for n in range(3)
    ]
    file = write_rows(tmp_path / "sql.jsonl", rows)
    recipe = small_recipe(file, task="text_to_sql", prompt__template="gemma")
    found = kerasft.evaluate(
        str(TINY), recipe=recipe, data=file, retry=2, out=tmp_path / "out", backend=backend
    )
    again = found["with_retry"]["base"]
    failed = [line["base"]["valid_sql"] is False for line in found["predictions"]]
    assert again["tried"] == sum(failed) > 0 and again["width"] == 2
    assert found["base"]["valid_sql"]["count"] + again["replaced"] == again["valid_sql"]["count"]
    assert set(found["base"]["by_difficulty"]) == {"easy", "hard"}
    for line, tried in zip(found["predictions"], failed, strict=True):
        assert ("with_retry" in line["base"]) == tried


class FakeJudge:
    """Finds answers right that hold a seven; one row is not graded the first time."""

    url, model = "http://judge/v1", "grader"

    def __init__(self, fail=False):
        self.fail = fail
        self.graded = 0

    def described(self):
        return {"url": self.url, "model": self.model}

    def grade(self, task, rows, answers):
        assert task == "instruct"
        self.graded += len(rows)
        grades = [
            Grade("right" if "7" in text else "wrong", "by its seven \ud83d") for text in answers
        ]
        if self.fail:
            grades[0] = Grade("failed", "no reply")
        return grades


@pytest.mark.once
def test_a_judge_grades_both_and_is_not_asked_twice(tiny_run, mine, tmp_path, monkeypatch):
    run = tiny_run.result.run.path
    judge = FakeJudge()
    monkeypatch.setattr("kerasft.judging.Judge", lambda url, model: judge)
    asked = {"data": mine, "base": True, "judge": "http://judge/v1", "judge_model": "grader"}
    found = kerasft.evaluate(run, **asked, out=tmp_path / "out")
    assert found["judge"] == judge.described()
    assert judge.graded == 14
    rights = {name: found[name]["judge"]["right"]["count"] for name in ("base", "tuned")}
    compared = found["comparison"]["judge"]
    assert compared["fixed"] - compared["broken"] == rights["tuned"] - rights["base"]
    assert found["changed"]["measure"] == "judge"
    assert len(found["changed"]["examples"]) == compared["fixed"] + compared["broken"]
    for line in found["predictions"]:
        assert line["tuned"]["judge"] == ("7" in line["tuned"]["answer"])
        assert line["tuned"]["judge_reason"] == "by its seven \ud83d"
    # Half a character, which a judge's JSON can hold, is no reason not to write.
    assert "by its seven ?" in (tmp_path / "out" / "mine.predictions.jsonl").read_text("utf-8")


@pytest.mark.once
def test_grades_outlive_a_crash_and_failed_ones_are_asked_for_again(
    tiny_run, mine, tmp_path, monkeypatch
):
    first, second = FakeJudge(fail=True), FakeJudge()
    judges = iter([first, second])
    monkeypatch.setattr("kerasft.judging.Judge", lambda url, model: next(judges))
    asked = {"data": mine, "judge": "http://judge/v1", "judge_model": "grader"}
    run, out = tiny_run.result.run.path, tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("kerasft.evaluation.encode_completions", _crash)
        with pytest.raises(RuntimeError):
            kerasft.evaluate(run, **asked, out=out)
    found = kerasft.evaluate(run, **asked, out=out)
    assert (first.graded, second.graded) == (7, 1)
    assert found["decoding"]["tuned"]["resumed"] == 7
    assert found["tuned"]["judge"]["failed"] == 0


@pytest.mark.once
def test_a_judge_behind_an_endpoint_is_paid_and_told_of(tiny_run, mine, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0123456789")

    def answer(number, body):
        return Reply(verdict("right" if number % 2 else "wrong"))

    with serve(answer) as stub:
        found = kerasft.evaluate(
            tiny_run.result.run.path,
            data=mine,
            limit=4,
            judge=stub.url,
            judge_model="grader",
            judge_prices=(10.0, 100.0),
            out=tmp_path / "out",
        )
    graded = found["tuned"]["judge"]
    assert (graded["right"]["count"], graded["right"]["of"]) == (2, 4)
    assert graded["cost"] == pytest.approx(4 * (100 * 10 + 10 * 100) / 1e6)
    assert found["judge"]["model"] == "grader"
    written = "".join(file.read_text("utf-8") for file in (tmp_path / "out").iterdir())
    assert "canary" not in written and "grader" in written


def _crash(*args, **named):
    raise RuntimeError("out of memory")


@pytest.mark.once
def test_what_cannot_be_scored_is_told_before_weights_are_loaded(
    tiny_run, tmp_path, backend, monkeypatch
):
    def load_base(*args, **named):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(sources, "load_base", load_base)
    run = tiny_run.result.run.path
    none_held = override(tiny_run.recipe, {"data.validation": 0.0})
    with pytest.raises(KerasftError, match=r"holds no rows back.*--data or --split"):
        kerasft.evaluate(str(TINY), recipe=none_held, out=tmp_path, backend=backend)
    with pytest.raises(KerasftError, match="or --recipe"):
        kerasft.evaluate(str(TINY), out=tmp_path)
    with pytest.raises(KerasftError, match="is no run; say with --out"):
        kerasft.evaluate(str(TINY), recipe=tiny_run.recipe)
    bad = write_rows(tmp_path / "bad.jsonl", [{"instruction": "a"}])
    with pytest.raises(DataError, match="no column for 'response'"):
        kerasft.evaluate(run, data=bad)
    with pytest.raises(DataError, match="no column for 'question'"):
        kerasft.evaluate(run, forgetting=bad)
    with pytest.raises(KerasftError) as told:
        kerasft.evaluate(
            str(TINY),
            recipe=tiny_run.recipe,
            out=tmp_path,
            db="x.sqlite",
            retry=2,
            judge="http://localhost",
            forgetting=bad,
        )
    for fault in (
        "--forgetting compares a tuned model",
        "--db needs --data",
        "--db is for text_to_sql",
        "--retry tries SQL again",
        "--judge URL and --judge-model NAME go together",
    ):
        assert fault in str(told.value)
