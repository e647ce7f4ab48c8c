"""The group: what it imports, how it answers slips, and what becomes of errors."""

import json
import subprocess
import sys

import click
import pytest

from kerasft.cli import main
from kerasft.errors import ModelError

HEAVY = {
    "datasets",
    "gguf",
    "huggingface_hub",
    "jax",
    "kagglehub",
    "keras",
    "keras_hub",
    "matplotlib",
    "numpy",
    "pandas",
    "pydantic",
    "rich",
    "sentencepiece",
    "sqlglot",
    "tensorflow",
    "tokenizers",
    "torch",
    "transformers",
}


def imported(*args: str) -> set[str]:
    """Top-level modules that a command line has imported when it is done."""
    code = (
        "import sys, contextlib, io\n"
        "from kerasft.cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert run({list(args)!r}) == 0\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    assert imported(option) & HEAVY == set()


@pytest.mark.parametrize("command", main.COMMANDS)
def test_a_commands_help_imports_no_framework(command):
    assert imported(command, "--help") & (HEAVY - {"numpy", "pydantic", "rich"}) == set()


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_table_names_commands_that_are_there(name):
    command = main.cli.get_command(click.Context(main.cli), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


def test_help_lists_every_command(capsys):
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, entry in main.COMMANDS.items():
        assert f"  {name} " in shown and entry.help in shown


def test_version_names_python_and_the_frameworks(capsys):
    assert main.run(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("kerasft ") and first.endswith(f"Python {sys.version.split()[0]}")
    assert "keras 3." in second and "torch 2." in second


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "kerasft", "recipes", "list", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "sql" in [recipe["name"] for recipe in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "There is no command 'trian'; did you mean 'train'?"),
        (["zzz"], "There is no command 'zzz'."),
        (["recipes", "list", "--jsno"], "--jsno"),
        (["train"], "Give either --recipe, or --resume"),
        (
            ["train", "--resume", "x", "--auto-batch"],
            "--resume takes folder, batch and engine from the run",
        ),
        (["generate", "x"], "Give either a prompt, or --file"),
        (["generate", "nowhere", "hello"], "nowhere is not a run"),
    ],
)
def test_wrong_usage_is_2(args, message, capsys):
    assert main.run(args) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == ""


@pytest.fixture
def failing(monkeypatch):
    """Makes `kerasft recipes list` fail as it is told to."""

    def fail_with(error: BaseException):
        def fail() -> None:
            raise error

        monkeypatch.setattr("kerasft.recipe.names", fail)

    monkeypatch.delenv("KERASFT_TRACEBACK", raising=False)
    return fail_with


def test_an_explained_error_is_its_message_and_1(failing, capsys):
    failing(ModelError("no [red]preset[/red] \x1b[31mx\nnext line"))
    assert main.run(["recipes", "list"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "Error: no [red]preset[/red] \\x1b[31mx\nnext line\n"
    assert shown.out == ""


def test_a_long_message_is_not_broken_into_lines(failing, capsys):
    failing(ModelError("word " * 200))
    main.run(["recipes", "list"])
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_explained_error_is_an_object_too_with_json(failing, capsys):
    failing(ModelError("no preset"))
    assert main.run(["recipes", "list", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": "no preset", "type": "ModelError"}
    assert "no preset" in shown.err


def test_an_unexpected_error_names_its_type_and_the_way_to_see_more(failing, capsys, monkeypatch):
    failing(ZeroDivisionError("by zero"))
    assert main.run(["recipes", "list"]) == 1
    shown = capsys.readouterr().err
    assert shown == (
        "Error: unexpected ZeroDivisionError: by zero\nkerasft --traceback … shows where.\n"
    )
    assert main.run(["--traceback", "recipes", "list"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setenv("KERASFT_TRACEBACK", "1")
    assert main.run(["recipes", "list"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_is_130(failing, capsys):
    failing(KeyboardInterrupt())
    assert main.run(["recipes", "list"]) == 130
    assert "Stopped." in capsys.readouterr().err


def test_no_secret_is_printed(failing, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-value-0123")
    failing(ValueError("401 for https://user:canary-value-0123@hub"))
    main.run(["--traceback", "recipes", "list", "--json"])
    shown = capsys.readouterr()
    assert "401" in shown.out + shown.err
    assert "canary" not in shown.out + shown.err
