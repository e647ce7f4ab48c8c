"""`kerasft kaggle`: which options go together, and what is printed."""

import json

import pytest

from kerasft.cli.kaggle import _ACCELERATORS
from kerasft.cli.main import run
from kerasft.kaggle.accelerators import ACCELERATORS


def test_the_choices_are_the_accelerators():
    assert tuple(ACCELERATORS) == _ACCELERATORS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["init"], "Missing option '--recipe'"),
        (["init", "--recipe", "sql", "--accelerator", "a100"], "'a100' is not one of 't4x2'"),
        (["init", "--recipe", "sql", "--export", "onnx"], "'onnx' is not one of 'hf'"),
        (["init", "--recipe", "sql", "--yes"], "--yes goes with --push"),
        (["init", "--recipe", "sql", "--colab", "--username", "me"], "for Kaggle, not --colab"),
        (["init", "--recipe", "sql", "--offline"], "--offline goes with --wheels"),
        (["push", "x", "--no-send"], "go with --follow"),
        (["push", "x", "--out", "y"], "go with --follow"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_right(arguments, said, capfd):
    assert run(["kaggle", *arguments]) == 2
    printed = " ".join(capfd.readouterr().err.split())
    assert "Usage" in printed and said in printed, printed


def test_init_says_what_it_wrote_and_what_is_next(tmp_path, capsys):
    out = tmp_path / "k"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n", "utf-8")
    arguments = ["--recipe", "sql", "--username", "me", "--set", f"data.source={rows}"]
    assert run(["kaggle", "init", *arguments, "--out", str(out), "--accelerator", "tpu"]) == 0
    printed = capsys.readouterr()
    assert f"{out / 'kerasft-sql.ipynb'}: tpu, jax" in printed.out
    assert f"kerasft kaggle push {out} --follow" in printed.out
    assert "data.source" in printed.err
    # The same again is refused in a sentence.
    assert run(["kaggle", "init", *arguments, "--out", str(out)]) == 1
    assert "not empty" in capsys.readouterr().err


def test_init_for_programs(tmp_path, capsys):
    arguments = ["--recipe", "sql", "--colab", "--out", str(tmp_path / "k"), "--json"]
    assert run(["kaggle", "init", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "folder": str(tmp_path / "k"),
        "notebook": str(tmp_path / "k" / "kerasft-sql.ipynb"),
        "id": None,
        "accelerator": "t4x2",
        "backend": "torch",
        "notes": [],
    }


def test_push_of_a_folder_that_is_none_says_how_it_is_made(tmp_path, capsys):
    assert run(["kaggle", "push", str(tmp_path), "--json"]) == 1
    printed = capsys.readouterr()
    assert "kerasft kaggle init" in json.loads(printed.out)["error"]
