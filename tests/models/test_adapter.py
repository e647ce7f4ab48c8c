"""Adapter folders, written and read."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasft.data.prompts import template_for
from kerasft.errors import AdapterError
from kerasft.models import adapter
from kerasft.recipe import LoraSettings, PromptSettings

INFO = adapter.AdapterInfo(
    preset="gemma3-270m",
    base_id="sha256:abc",
    fingerprint="f" * 64,
    family="gemma3",
    dtype="bfloat16",
    task="text_to_sql",
    template=template_for(PromptSettings(template="gemma"), "text_to_sql").to_dict(),
    lora=LoraSettings(layout="peft", rank=3, alpha=6, target_layers=["query", "down"]),
    step=7,
)
TENSORS = {
    "decoder_block_0/attention/query/a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "decoder_block_0/attention/query/b": np.full((3, 4), 1e-30, np.float32),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    adapter.save(tmp_path / "adapter", TENSORS, INFO)
    return tmp_path / "adapter"


def change(folder: Path, **fields: Any) -> None:
    path = folder / adapter.DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}), "utf-8")


def test_round_trip(folder):
    assert adapter.read_info(folder) == INFO
    found = adapter.read_tensors(folder)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value)
    assert sorted(path.name for path in folder.iterdir()) == [adapter.DESCRIPTION, adapter.WEIGHTS]


def test_bfloat16_takes_half_and_is_read_as_float32(tmp_path):
    import ml_dtypes

    random = np.random.default_rng(0)
    exact = {"x/a": random.standard_normal((64, 8), np.float32), "x/b": np.zeros((8, 64))}
    adapter.save(tmp_path / "whole", exact, INFO)
    adapter.save(tmp_path / "half", exact, INFO, dtype="bfloat16")
    description = json.loads((tmp_path / "half" / adapter.DESCRIPTION).read_text("utf-8"))
    assert (description["adapter_dtype"], description["dtype"]) == ("bfloat16", INFO.dtype)
    assert adapter.read_info(tmp_path / "half") == replace(INFO, adapter_dtype="bfloat16")
    found = adapter.read_tensors(tmp_path / "half")
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    rounded = exact["x/a"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found["x/a"], rounded)
    assert (rounded != exact["x/a"]).any()
    whole, half = ((tmp_path / name / adapter.WEIGHTS).stat().st_size for name in ("whole", "half"))
    assert whole - half == 2 * (64 * 8 + 8 * 64)


def test_bfloat16_is_read_in_a_process_that_has_not_met_it(tmp_path):
    # NumPy learns of bfloat16 from ml_dtypes, which other tests have imported here.
    adapter.save(tmp_path / "half", {"x/a": np.ones((2, 2), np.float32)}, INFO, dtype="bfloat16")
    code = (
        "import sys, pathlib; from kerasft.models.adapter import read_tensors; "
        "assert 'ml_dtypes' not in sys.modules; "
        "print(read_tensors(pathlib.Path(sys.argv[1]))['x/a'].sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "half")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "4.0"


def test_a_description_from_before_the_dtype_was_noted_is_float32(folder):
    path = folder / adapter.DESCRIPTION
    description = json.loads(path.read_text("utf-8"))
    del description["adapter_dtype"]
    path.write_text(json.dumps(description), "utf-8")
    assert adapter.read_info(folder) == INFO


def test_another_dtype_is_refused_and_what_was_there_stays(folder):
    with pytest.raises(AdapterError, match=r"float32 or bfloat16, got 'float16'"):
        adapter.save(folder, TENSORS, replace(INFO, step=9), dtype="float16")
    assert adapter.read_info(folder) == INFO


def test_saving_again_replaces_the_folder_as_a_whole(folder):
    (folder / "stray").touch()
    adapter.save(folder, {"x/a": np.zeros(2, np.float32)}, replace(INFO, step=8))
    assert adapter.read_info(folder).step == 8
    assert list(adapter.read_tensors(folder)) == ["x/a"]
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]
    assert not (folder / "stray").exists()


def test_a_full_disk_leaves_what_was_there(folder, monkeypatch):
    import safetensors.numpy

    def full(*_: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(AdapterError, match=r"could not be written .*No space left"):
        adapter.save(folder, TENSORS, replace(INFO, step=9))
    assert adapter.read_info(folder) == INFO
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(AdapterError, match="could not be written"):
        adapter.save(folder, TENSORS, replace(INFO, step=9))
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]


def test_a_folder_that_is_none_is_told_what_to_give(tmp_path):
    with pytest.raises(AdapterError, match=r"not an adapter folder.*Give a run"):
        adapter.read_info(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"'])
def test_a_damaged_description_is_named(folder, content):
    (folder / adapter.DESCRIPTION).write_bytes(content)
    with pytest.raises(AdapterError, match=r"adapter\.json .*take the adapter from its run again"):
        adapter.read_info(folder)


def test_every_fault_of_a_description_comes_at_once(folder):
    path = folder / adapter.DESCRIPTION
    description = json.loads(path.read_text("utf-8"))
    del description["fingerprint"], description["template"]
    description["schema_version"] = 2
    description["lora"] |= {"rank": 0, "target_layers": ["q_proj"]}
    path.write_text(json.dumps(description), "utf-8")
    with pytest.raises(AdapterError) as caught:
        adapter.read_info(folder)
    said = str(caught.value)
    assert "(5)" in said
    for fault in (
        "fingerprint is missing",
        "template is missing",
        "schema_version is 2, this kerasft reads 1",
        "lora.rank",
        "lora.target_layers.0",
    ):
        assert fault in said


@pytest.mark.parametrize("lora", [None, 3, [], {"ranks": 4}])
def test_lora_settings_that_are_none_are_a_fault(folder, lora):
    change(folder, lora=lora)
    with pytest.raises(AdapterError, match=r"cannot be used \(1\):\n  - lora"):
        adapter.read_info(folder)


def test_damaged_weights_are_named(folder):
    path = folder / adapter.WEIGHTS
    whole = path.read_bytes()
    for content in (b"", whole[:-1], b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        path.write_bytes(content)
        with pytest.raises(AdapterError, match=r"adapter\.safetensors is damaged"):
            adapter.read_tensors(folder)
    path.unlink()
    with pytest.raises(AdapterError, match="is missing; the adapter is incomplete"):
        adapter.read_tensors(folder)


def test_another_base_is_refused_for_every_reason_at_once():
    adapter.check_base(INFO, family="gemma3", fingerprint="f" * 64, preset="elsewhere")
    with pytest.raises(AdapterError) as caught:
        adapter.check_base(INFO, family="gemma", fingerprint="0" * 64, preset="hf://org/other")
    said = str(caught.value)
    assert "(2)" in said and "for gemma3, the base is gemma" in said
    assert "f" * 64 in said and "0" * 64 in said and "hf://org/other" in said


@pytest.mark.parametrize("stage", ["written", "moved away", "moved in"])
def test_a_kill_while_an_adapter_is_replaced_leaves_one_of_the_two(folder, tmp_path, stage):
    """`recover` is what a resumed run calls first."""
    adapter.save(tmp_path / "next", TENSORS, replace(INFO, step=8))
    aside, former = tmp_path / ".adapter.tmp", tmp_path / ".adapter.old"
    (tmp_path / "next").rename(aside)
    if stage != "written":
        folder.rename(former)
    if stage == "moved in":
        aside.rename(folder)
    adapter.recover(folder)
    assert adapter.read_info(folder).step == (7 if stage == "written" else 8)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
