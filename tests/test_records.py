"""JSON files of a run: whole or not at all, versioned, finite, without secrets."""

import json
import math
import os

import numpy as np
import pytest

from kerasft import records
from kerasft.errors import RunError
from kerasft.masking import MASK, masked


def test_what_is_written_reads_back_with_its_version_first(tmp_path):
    file = tmp_path / "new" / "a.json"
    records.write_json(file, {"loss": 0.5, "note": "naïve ☃", "nested": {"rows": [1, None, True]}})
    assert next(iter(json.loads(file.read_text("utf-8")))) == "schema_version"
    content = records.read_json(file)
    assert content.pop("schema_version") == records.SCHEMA_VERSION
    assert content == {"loss": 0.5, "note": "naïve ☃", "nested": {"rows": [1, None, True]}}


def test_numbers_that_are_not_finite_are_null_and_numpy_is_plain():
    value = {"a": math.nan, "b": (math.inf, 1.0), "c": np.float32(0.5), "d": np.int64(3)}
    assert records.plain(value) == {"a": None, "b": [None, 1.0], "c": 0.5, "d": 3}
    with pytest.raises(TypeError, match="object has no place"):
        records.plain({"a": object()})


@pytest.mark.parametrize("fault", ["value", "disk"])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, fault):
    file = tmp_path / "a.json"
    records.write_json(file, {"step": 1})
    if fault == "value":
        with pytest.raises(TypeError):
            records.write_json(file, {"step": object()})
    else:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"a\.json cannot be written: No space left on device"):
            records.write_json(file, {"step": 2})
    assert records.read_json(file)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema_version": 1, "a"', "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b'{"a": 1}', "has no schema_version"),
        (b"[1]", "has no schema_version"),
        (b'{"schema_version": 99}', "schema version 99.*upgrade it"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(RunError, match=message):
        records.read_json(file)
    with pytest.raises(RunError, match="cannot be read: No such file"):
        records.read_json(tmp_path / "missing.json")


def test_secrets_are_masked_and_plain_words_are_not(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-hub")
    monkeypatch.setenv("KAGGLE_KEY", "canary-of-kaggle")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "supervised")
    monkeypatch.setenv("MY_KEY", "short")
    text = "at canary-of-the-hub, canary-of-kaggle: supervised short hf_" + "a1" * 12
    assert masked(text) == f"at {MASK}, {MASK}: supervised short {MASK}"
    assert masked("hf://google/gemma and num_hf_layers") == "hf://google/gemma and num_hf_layers"
