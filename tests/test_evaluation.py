"""`kerasft.evaluate` on rows with known answers."""

import json
import shutil

import pytest

import kerasft
from kerasft.errors import DataError, KerasftError
from kerasft.models import sources
from kerasft.recipe import override
from kerasft.runs import RunFolder
from tests.small import TINY, say_rows, write_rows

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def scored(tiny_run, tmp_path_factory):
    """Tuned and base on the held-out rows."""
    out = tmp_path_factory.mktemp("scored")
    return out, kerasft.evaluate(tiny_run.result.run.path, base=True, out=out)


def test_scores_and_predictions_are_written(scored, tiny_run):
    out, results = scored
    assert results["files"] == [str(out / "validation.json")]
    written = json.loads((out / "validation.json").read_text("utf-8"))
    assert {name: results[name] for name in written if name != "schema_version"} == {
        name: value for name, value in written.items() if name != "schema_version"
    }
    assert written["rows"] == written["tuned"]["rows"] == written["base"]["rows"] == 3
    assert written["model"]["adapter_step"] == 9
    assert written["data"]["source"] == "rows.jsonl"
    assert written["data"]["content_hash"] == tiny_run.result.record["data"]["content_hash"]
    lines = (out / "validation.predictions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == results["predictions"]


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
    assert bare["base"] == results["base"]
    answers = [each["base"]["answer"] for each in predictions]
    assert [each["base"]["answer"] for each in bare["predictions"]] == answers


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
    with pytest.raises(KerasftError, match="give --recipe"):
        kerasft.evaluate(str(TINY), out=tmp_path)
    with pytest.raises(KerasftError, match="is no run; say with --out"):
        kerasft.evaluate(str(TINY), recipe=tiny_run.recipe)
    bad = write_rows(tmp_path / "bad.jsonl", [{"instruction": "a"}])
    with pytest.raises(DataError, match="no column for 'response'"):
        kerasft.evaluate(run, data=bad)
