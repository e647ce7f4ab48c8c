"""The notebook executed top to bottom, twice: the first session is cut by its time budget.

The machine is a stand-in: folders for /kaggle/input and /kaggle/working, a module in the
place of Kaggle's secrets. The rest, pip included, is what runs on Kaggle.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

import kerasft
from kerasft.kaggle.kernel import init_kernel
from kerasft.kaggle.notebook import PARAMETERS
from kerasft.models import adapter as adapters
from kerasft.recipe import to_toml
from kerasft.runs import RunFolder
from tests.small import intricate_recipe, say_rows, write_rows

nbclient = pytest.importorskip("nbclient", reason="executes the notebook; in the extra `test`")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "c4n4ry" * 5
SECRETS = f"""
class UserSecretsClient:
    def get_secret(self, name):
        return {{"HF_TOKEN": "{TOKEN}"}}[name]
"""
CLOCK = {"tokens_per_second", "peak_memory_bytes", "seconds", "input_wait_share"}


def execute(notebook: Path, input_: Path, working: Path, **parameters: str) -> list[Any]:
    """Its cells after a run with other parameters, put in as papermill does."""
    working.mkdir()
    found = nbformat.read(notebook, as_version=4)
    values = {"INPUT": str(input_), "WORKING": str(working), **parameters}
    try:
        version("kerasft")
    except PackageNotFoundError:  # a checkout on the path: pip knows of no kerasft
        values["PACKAGES"] = ["pip"]
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    (place,) = (
        index
        for index, cell in enumerate(found.cells)
        if PARAMETERS in cell.metadata.get("tags", [])
    )
    found.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    client = nbclient.NotebookClient(
        found, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(working)}}
    )
    client.execute()
    return found.cells


def printed(cells: list[Any], identity: str) -> str:
    (cell,) = (cell for cell in cells if cell.id == identity)
    return "".join(output.get("text", "") for output in cell.outputs)


def outcome(run: RunFolder) -> dict[str, Any]:
    """All of a run that its data, recipe and seeds decide."""
    record = run.record()
    return {
        "adapter": {
            name: array.tobytes() for name, array in adapters.read_tensors(run.adapter).items()
        },
        "metrics": [
            {key: value for key, value in line.items() if key not in CLOCK}
            for line in run.metrics()
        ],
        **{key: record[key] for key in ("status", "steps", "tokens", "validation", "samples")},
    }


def test_two_sessions_end_where_an_uninterrupted_run_ends(tmp_path, monkeypatch, backend):
    recipe = intricate_recipe(
        write_rows(tmp_path / "rows.jsonl", say_rows(18)),
        train__epochs=2,
        eval__limit=2,
    )
    file = tmp_path / "tiny.toml"
    file.write_text(to_toml(recipe), "utf-8")
    kernel = init_kernel(
        str(file), tmp_path / "kernel", accelerator="none", backend=backend, username="me"
    )
    stand_in = tmp_path / "site"
    stand_in.mkdir()
    (stand_in / "kaggle_secrets.py").write_text(SECRETS, "utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{stand_in}:{ROOT}")
    monkeypatch.delenv("HF_TOKEN", raising=False)

    # The first version: its session is over before the second step.
    nothing = tmp_path / "input-1"
    nothing.mkdir()
    first = execute(kernel.notebook, nothing, tmp_path / "working-1", SESSION="1s")
    cut = RunFolder.open(tmp_path / "working-1" / "run").record()
    assert (cut["status"], cut["stopped_by"]) == ("stopped", "time budget")
    assert 0 < cut["steps"] < cut["planned_steps"]
    assert "Save and run another version" in printed(first, "train")
    assert printed(first, "eval") == printed(first, "export") == ""

    # The second finds that output among its inputs, read-only.
    given = tmp_path / "input-2" / "notebooks" / "me" / "kerasft-tiny"
    shutil.copytree(tmp_path / "working-1", given)
    for path in sorted(given.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    working = tmp_path / "working-2"
    second = execute(kernel.notebook, tmp_path / "input-2", working, SESSION="2h")
    run = RunFolder.open(working / "run")
    assert f"Going on with {given / 'run'}" in printed(second, "train")

    whole = kerasft.train(recipe, backend=backend, out=tmp_path / "whole").run
    assert outcome(run) == outcome(whole)

    # What follows training.
    assert "execution" in printed(second, "eval") or "rows" in printed(second, "eval")
    assert json.loads((working / "export-hf" / "verification.json").read_text())["status"] == (
        "passed"
    )
    (report,) = (cell for cell in second if cell.id == "report")
    kinds = [kind for output in report.outputs for kind in output.data]
    assert "image/png" in kinds and "text/markdown" in kinds
    assert "HF_TOKEN is set" in printed(second, "login")
    for path in [*working.rglob("*"), *(tmp_path / "working-1").rglob("*")]:
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in nbformat.writes(nbformat.v4.new_notebook(cells=second))
