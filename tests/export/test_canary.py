"""Nothing that an export leaves holds a secret or a folder of the machine it was made on."""

import shutil
from pathlib import Path

import pytest

from kerasft.export.card import write_card
from kerasft.export.formats import FORMATS
from kerasft.export.trained import open_trained
from kerasft.export.verify import verify_folder
from kerasft.records import write_json
from kerasft.runs import RunFolder
from kerasft.tasks.intervals import proportion
from tests.export.live import make_run

SECRETS = {"HF_TOKEN": "hf_" + "C4n4ry" * 6, "KAGGLE_KEY": "c4n4ry01" * 4}
UNKNOWN_TOKEN = "hf_" + "0ther1" * 6
"""A token that no variable of the environment holds."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / "someone"


@pytest.fixture(scope="module")
def trained(home, tiny_gemma3):
    """A run in a home folder, on a base there, whose texts name folders and tokens."""
    base = home / "models" / "mine"
    shutil.copytree(tiny_gemma3, base)
    run = make_run(home / "runs" / "sql-1", str(base), dtype="bfloat16")
    folder = RunFolder.open(run)
    recipe = folder.recipe_file.read_text("utf-8")
    said = f"from {home}/notes with {UNKNOWN_TOKEN} and {SECRETS['KAGGLE_KEY']}, see {run}"
    lines = [
        f'description = "{said}"' if line.startswith("description") else line
        for line in recipe.splitlines()
    ]
    folder.recipe_file.write_text("\n".join(lines) + "\n", "utf-8")
    result = {
        "data": {"source": "rows.jsonl", "which": "all"},
        "command": f"kerasft eval {run} --data {home}/rows.jsonl",
        "tuned": {"valid_sql": proportion(4, 5)},
    }
    write_json(run / "eval" / "rows.json", result)
    return run


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.keras if name == "keras" else ()) for name in FORMATS],
)
def test_no_file_of_an_export_tells_on_its_maker(name, trained, home, tmp_path, monkeypatch):
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", str(home))
    form, weights = FORMATS[name], open_trained(trained)
    dtype = form.default_dtype or weights.base_dtype
    written = form.load("writer")(weights, tmp_path, dtype=dtype)
    # Readers are loaded elsewhere: what is asked of them does not come from this machine.
    verification = verify_folder(weights, tmp_path, live=None, ask=lambda *_: "not asked")
    assert len(verification.faults) == 1 and "not asked" in verification.faults[0]
    write_card(tmp_path, "tiny-sql", trained, weights, written, verification)

    card = (tmp_path / "README.md").read_text("utf-8")
    assert "rows.jsonl" in card and "mine" in card and "[masked]" in card
    for path in _files(tmp_path):
        content = path.read_bytes()
        for told in (home, home.parent, tmp_path, *SECRETS.values(), UNKNOWN_TOKEN):
            assert str(told).encode() not in content, f"{told} in {path.name}"


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    return files
