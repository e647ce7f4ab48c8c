"""No token of the environment, and none in an error, is in anything that is written or printed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kerasft
from kerasft.cli import main
from tests.small import TINY, say_rows, write_rows

HUGGING_FACE = "hf_" + "C4n4ry" * 6
SECRETS = {
    "HF_TOKEN": HUGGING_FACE,
    "KAGGLE_KEY": "c4n4ry01" * 4,
    "WANDB_API_KEY": "c4n4ry02" * 5,
    "OPENAI_API_KEY": "sk-c4n4ry03c4n4ry03",
    "MY_PASSWORD": "c4n4ry04c4n4ry04",
}
UNKNOWN_TOKEN = "hf_" + "0ther1" * 6
"""A token that no variable of the environment holds."""

CANARIES = (*SECRETS.values(), UNKNOWN_TOKEN)


@pytest.fixture
def secrets(monkeypatch, tmp_path):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KERASFT_TRACEBACK", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recipe(tmp_path) -> Path:
    rows = write_rows(tmp_path / "rows.jsonl", say_rows(10))
    text = f"""
task = "instruct"
[model]
preset = "{TINY}"
dtype = "float32"
[data]
source = "{rows}"
validation = 2
[prompt]
template = "instruction"
[train]
packing = false
batch_size = 2
max_steps = 2
sequence_length = 64
[eval]
max_new_tokens = 4
samples = 1
"""
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def clean(folder: Path, capfd: pytest.CaptureFixture) -> str:
    """Look for canaries in every file and in all that was printed; gives the latter."""
    printed = capfd.readouterr()
    said = printed.out + printed.err
    for canary in CANARIES:
        assert canary not in said
        for path in folder.rglob("*"):
            if path.is_file():
                assert canary.encode() not in path.read_bytes(), path
    return said


# Without the mark `keras`: what is told depends on no backend, so one is enough.
def test_no_command_tells_a_token(secrets, recipe, tmp_path, backend, capfd):
    chosen = ["--recipe", str(recipe), "--backend", backend]
    assert main.run(["train", *chosen, "--dry-run"]) == 0
    assert main.run(["train", *chosen, "--out", "run"]) == 0
    assert main.run(["eval", "run", "--data", "rows.jsonl", "--limit", "2"]) == 0
    assert main.run(["inspect", "--recipe", str(recipe)]) == 0
    assert main.run(["runs", "list", "."]) == 0
    assert "finished" in clean(tmp_path, capfd)


def test_an_error_of_a_library_that_repeats_tokens_does_not_pass_them_on(
    secrets, recipe, tmp_path, backend, capfd, monkeypatch
):
    """Into run.json, onto the screen, or into a trace."""

    def refuse(*_, **__):
        told = " ".join(CANARIES)
        raise RuntimeError(f"401 for https://user:{told}@host/x?token={HUGGING_FACE}")

    monkeypatch.setattr("kerasft.models.opened.Opened.load_weights", refuse)
    arguments = ["train", "--recipe", str(recipe), "--backend", backend, "--out", "run", "--json"]
    assert main.run(["--traceback", *arguments]) == 1
    said = clean(tmp_path, capfd)
    assert "[masked]" in said and "Traceback" in said
    assert "[masked]" in (tmp_path / "run" / "run.json").read_text("utf-8")


def test_a_path_with_a_token_in_it_is_masked_in_the_error(secrets, tmp_path, capfd):
    """A mistyped option, an address with a login in it."""
    for arguments in (
        ["train", "--recipe", f"{UNKNOWN_TOKEN}.toml"],
        ["train", "--recipe", "sql", "--set", f"train.sead={HUGGING_FACE}"],
        ["runs", "rm", SECRETS["KAGGLE_KEY"]],
    ):
        assert main.run(arguments) == 1
    assert "[masked]" in clean(tmp_path, capfd)


UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "tarfile", "zipfile"}
UNSAFE_CALLS = {
    ("torch", "load"),
    ("shutil", "unpack_archive"),
    ("keras", "load_model"),
    ("models", "load_model"),
    ("saving", "load_model"),
    ("yaml", "load"),
}


def test_nothing_in_the_package_can_unpickle_or_unpack():
    """Loading never runs code, and archives are not ours to open."""
    faults = []
    for path in sorted(Path(kerasft.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [each.name.split(".")[0] for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [(node.module or "").split(".")[0]]
            faults += [f"{path.name} imports {name}" for name in names if name in UNSAFE_MODULES]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).split(".")
                if tuple(called[-2:]) in UNSAFE_CALLS:
                    faults.append(f"{path.name} calls {'.'.join(called)}")
                for argument in node.keywords:
                    allowed = isinstance(argument.value, ast.Constant) and not argument.value.value
                    if argument.arg in ("allow_pickle", "trust_remote_code") and not allowed:
                        faults.append(f"{path.name} gives {ast.unparse(argument)}")
    assert faults == []
