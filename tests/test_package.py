"""The wheel holds all that it needs, and runs from an empty folder; so does the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("kerasft", "recipes", "weights", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


def command(*args: str, cwd: Path, path: Path) -> str:
    """Standard output of `python -m kerasft …` with one folder on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "kerasft", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left in the checkout and nothing there leaks in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        place = ROOT / part
        if place.is_dir():
            shutil.copytree(
                place,
                source / part,
                ignore=shutil.ignore_patterns("__pycache__", "_recipes", "_weights"),
            )
        else:
            shutil.copy(place, source / part)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [sys.executable, *build, "-w", str(folder), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(
        [sys.executable, *install, "--target", str(target), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target


def test_the_wheel_holds_recipes_and_licences_and_nothing_else_than_the_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    recipes = {Path(name).name for name in names if name.startswith("kerasft/_recipes/")}
    assert recipes == {path.name for path in (ROOT / "recipes").glob("*.toml")}
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kerasft"}
    assert any(name.endswith("entry_points.txt") for name in names)
    assert "kerasft/report/page.css" in names


@pytest.mark.parametrize("place", ["wheel", "checkout"])
def test_recipes_are_found_from_an_empty_folder(place, request, tmp_path):
    path = request.getfixturevalue("installed") if place == "wheel" else ROOT
    listed = json.loads(command("recipes", "list", "--json", cwd=tmp_path, path=path))
    assert {entry["name"] for entry in listed} == {
        file.stem for file in (ROOT / "recipes").glob("*.toml")
    }
    command("recipes", "copy", "sql", cwd=tmp_path, path=path)
    assert (tmp_path / "sql.toml").read_bytes() == (ROOT / "recipes" / "sql.toml").read_bytes()


@pytest.mark.parametrize("place", ["wheel", "checkout"])
def test_the_adapter_of_ask_is_found_from_an_empty_folder(place, request, tmp_path):
    path = request.getfixturevalue("installed") if place == "wheel" else ROOT
    done = subprocess.run(
        [sys.executable, "-c", "from kerasft.models.shipped import *; print(shipped_adapter())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(path)
    for name in ("adapter.json", "adapter.safetensors", "recipe.toml"):
        assert (folder / name).read_bytes() == (ROOT / "weights" / "ask" / name).read_bytes()


def test_the_installed_package_is_the_one_that_answers(installed, tmp_path):
    code = "import kerasft, kerasft.recipe as r; print(kerasft.__file__); print(r.shipped())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    module, recipes = map(Path, done.stdout.split())
    assert module.is_relative_to(installed) and recipes.is_relative_to(installed)
    assert command("--version", cwd=tmp_path, path=installed).startswith("kerasft 0.")
