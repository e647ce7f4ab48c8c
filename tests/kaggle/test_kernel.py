"""`init_kernel`: the folder that is written, and what is written into the notebook."""

import ast
import json
from pathlib import Path

import pytest

from kerasft import recipe as recipes
from kerasft.errors import ExportError, KernelError, RecipeError
from kerasft.kaggle.accelerators import ACCELERATORS
from kerasft.kaggle.kernel import Kernel, init_kernel
from kerasft.kaggle.metadata import read

NOWHERE = ("p100", True)
TOKEN = "hf_" + "c4n4ry" * 5


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A machine without a Kaggle login."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))


def cells(kernel: Kernel) -> dict[str, str]:
    found = json.loads(kernel.notebook.read_text("utf-8"))
    return {cell["id"]: cell["source"] for cell in found["cells"]}


@pytest.mark.parametrize(
    ("accelerator", "colab"),
    [(name, colab) for name in ACCELERATORS for colab in (False, True) if (name, colab) != NOWHERE],
)
def test_the_notebook_is_one(accelerator, colab, tmp_path):
    """Valid nbformat, every cell Python, the recipe in it the one that was asked for."""
    nbformat = pytest.importorskip("nbformat")
    username = {} if colab else {"username": "me"}
    kernel = init_kernel(
        "sql",
        tmp_path / "kernel",
        accelerator=accelerator,
        overrides=["train.seed=7"],
        push="hf://me/sql",
        colab=colab,
        **username,
    )
    found = nbformat.read(kernel.notebook, as_version=nbformat.NO_CONVERT)
    nbformat.validate(found)
    sources = cells(kernel)
    for name, source in sources.items():
        if name not in ("about", "recipe"):
            ast.parse(source)
    line, _, text = sources["recipe"].partition("\n")
    assert line == "%%writefile sql.toml"
    (tmp_path / "sql.toml").write_text(text, "utf-8")
    assert recipes.load(str(tmp_path / "sql.toml")) == recipes.load("sql", ["train.seed=7"])
    machine = ACCELERATORS[accelerator]
    assert machine.note in sources["about"]
    assert (machine.on_kaggle in sources["about"]) == (not (colab and machine.on_kaggle))
    assert f'BACKEND = "{machine.default_backend}"' in sources["parameters"]
    assert ('session.train(BACKEND, "' in sources["train"]) == (machine.kind != "cpu")
    files = {path.name for path in kernel.folder.iterdir()}
    if colab:
        assert files == {"kerasft-sql.ipynb"} and kernel.id == ""
        assert "google.colab" in sources["install"] and "userdata" in sources["login"]
        assert not any("/kaggle/" in source for source in sources.values())
    else:
        assert files == {"kerasft-sql.ipynb", "kernel-metadata.json"}
        assert read(kernel.folder)["id"] == kernel.id == "me/kerasft-sql"
        assert "UserSecretsClient" in sources["login"]


def test_each_accelerator_says_what_differs():
    notes = {name: each.on_kaggle + each.note for name, each in ACCELERATORS.items()}
    assert "one is used" in notes["t4x2"] and "float32" in notes["t4x2"]
    assert "retired" in notes["p100"] and "t4x2" in notes["p100"]
    assert "JAX" in notes["tpu"] and "bfloat16" in notes["tpu"]
    hours = {name: machine.session_seconds / 3600 for name, machine in ACCELERATORS.items()}
    assert hours == {"t4x2": 12, "p100": 12, "tpu": 9, "none": 12}


def test_pip_is_given_this_kerasft_and_what_the_recipe_needs(tmp_path, monkeypatch):
    from kerasft.kaggle import kernel as module

    monkeypatch.setattr(module, "versions", lambda: {"kerasft": "1.2.3"})

    def packages(out, recipe="sql", **options):
        made = init_kernel(recipe, tmp_path / out, username="me", **options)
        (line,) = (
            line for line in cells(made)["parameters"].splitlines() if line.startswith("PACKAGES")
        )
        return ast.literal_eval(line.removeprefix("PACKAGES = "))

    assert packages("a") == ["kerasft[gemma,hf]==1.2.3"]
    assert packages("b", export="none") == ["kerasft[gemma]==1.2.3"]
    assert packages("c", "sql-gemma-2b", export="keras") == ["kerasft==1.2.3"]
    assert packages("d", accelerator="tpu")[1:] == ["jax[tpu]"]
    assert packages("e", backend="jax")[1:] == ["jax[cuda12]"]


def test_wheels_of_a_data_set_are_looked_through_beside_the_index(tmp_path):
    kernel = init_kernel("sql", tmp_path / "k", username="me", wheels="me/wheels")
    found = read(kernel.folder)
    assert found["enable_internet"] is True and found["dataset_sources"] == ["me/wheels"]
    assert "--find-links" in cells(kernel)["install"]
    assert "--no-index" not in cells(kernel)["install"]


def test_wheels_alone_need_no_internet(tmp_path):
    kernel = init_kernel("sql", tmp_path / "k", username="me", wheels="me/wheels", offline=True)
    found = read(kernel.folder)
    assert found["enable_internet"] is False and found["dataset_sources"] == ["me/wheels"]
    assert "--no-index" in cells(kernel)["install"]


def test_a_base_that_kaggle_has_is_among_the_inputs(tmp_path):
    kernel = init_kernel("sql-gemma-2b", tmp_path / "k", username="me")
    (model,) = read(kernel.folder)["model_sources"]
    assert model.startswith("keras/gemma/keras/gemma_2b")
    assert any("licence" in note for note in kernel.notes)


def test_places_of_this_machine_are_told(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n", "utf-8")
    here = {"data.source": str(rows)}
    kernel = init_kernel("sql", tmp_path / "k", username="me", overrides=here)
    assert any("data.source" in note and "--dataset" in note for note in kernel.notes)
    there = {"data.source": "/kaggle/input/rows/rows.jsonl"}
    assert not init_kernel("sql", tmp_path / "l", username="me", overrides=there).notes


def test_a_push_needs_its_secret_and_never_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for push, secret in (
        ("hf://me/sql", '"HF_TOKEN": True'),
        ("kaggle://me/sql/transformers/270m", '"KAGGLE_API_TOKEN": True'),
        ("", '"HF_TOKEN": False'),
    ):
        kernel = init_kernel("sql", tmp_path / f"k{len(push)}", username="me", push=push)
        assert secret in cells(kernel)["login"]
        assert ("--push" in cells(kernel)["export"]) == bool(push)
        for path in kernel.folder.iterdir():
            assert TOKEN not in path.read_text("utf-8")


def test_a_secret_in_the_recipe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(KernelError, match="holds a secret") as caught:
        init_kernel("sql", tmp_path / "k", username="me", overrides={"description": TOKEN})
    assert TOKEN not in str(caught.value) and not (tmp_path / "k").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, KernelError, "give --username"),
        ({"username": "me", "accelerator": "tpu", "backend": "torch"}, KernelError, "JAX"),
        ({"username": "me", "push": "s3://x"}, ExportError, "no destination"),
        ({"username": "me", "push": "hf://me/x", "export": "none"}, KernelError, "no export"),
        ({"username": "me", "title": "abc"}, KernelError, "--title"),
        ({"username": "me", "datasets": ["rows"]}, KernelError, "dataset_sources: 'rows'"),
        ({"username": "me", "overrides": ["train.sed=1"]}, RecipeError, "train.seed"),
        ({"wheels": "me/wheels", "colab": True}, KernelError, "Colab installs from PyPI"),
        ({"username": "me", "offline": True}, KernelError, "give --wheels"),
        (
            {"username": "me", "offline": True, "wheels": "me/w", "push": "hf://me/x"},
            KernelError,
            "nothing is pushed",
        ),
        ({"accelerator": "p100", "colab": True}, KernelError, "Colab has no GPU P100"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(options, error, said, tmp_path):
    with pytest.raises(error, match=said):
        init_kernel("sql", tmp_path / "k", **options)
    assert not list(tmp_path.iterdir())


def test_the_login_of_this_machine_names_the_owner(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "c4n4ry" * 5)
    assert init_kernel("sql", tmp_path / "k").id == "someone/kerasft-sql"


def test_a_folder_that_holds_something_stays(tmp_path):
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(KernelError, match="not empty"):
        init_kernel("sql", folder, username="me")
    assert [path.name for path in tmp_path.rglob("*")] == ["k", "mine.txt"]


def test_a_recipe_of_any_name_is_written_by_its_cell(tmp_path):
    file = tmp_path / "my own (2).toml"
    file.write_text((recipes.shipped() / "sql.toml").read_text("utf-8"), "utf-8")
    kernel = init_kernel(str(file), tmp_path / "k", username="me")
    assert cells(kernel)["recipe"].startswith("%%writefile my-own-2-.toml\n")
    assert '"my-own-2-.toml"' in cells(kernel)["train"]
    assert kernel.id == "me/kerasft-my-own-2"


def test_an_empty_folder_is_used(tmp_path: Path):
    (tmp_path / "k").mkdir()
    assert init_kernel("sql", tmp_path / "k", username="me").notebook.is_file()
