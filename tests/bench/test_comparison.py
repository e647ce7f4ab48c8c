"""A whole benchmark on a tiny shape: processes, numbers, and those that cannot take part."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from kerasft.bench import comparison
from kerasft.bench.comparison import Request, bench
from kerasft.bench.contenders import CONTENDERS
from kerasft.errors import KerasftError
from tests.small import TINY as TINY_FOLDER
from tests.small import say_rows, write_rows

RECIPE = """
task = "instruct"
[model]
preset = "{preset}"
dtype = "float32"
[lora]
layout = "peft"
rank = 2
target_layers = ["query", "value"]
[data]
source = "{source}"
[prompt]
template = "instruction"
[train]
sequence_length = 256
batch_size = 2
compile = "off"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    source = write_rows(folder / "rows.jsonl", say_rows(23))
    path = folder / "say.toml"
    path.write_text(RECIPE.format(preset=TINY_FOLDER, source=source))
    return path


@pytest.mark.keras
def test_an_epoch_of_real_rows_on_real_weights(recipe: Path, backend: str, tmp_path: Path) -> None:
    names = [f"kerasft-{backend}", "hf", "unsloth"]
    request = Request(recipe=str(recipe), contenders=names, steps=0, dtype="float32", timeout=300)
    record = bench(request, tmp_path / "out")
    assert record == json.loads((tmp_path / "out" / "bench.json").read_text())
    assert record["schema_version"] == 1
    ours, hf, unsloth = record["contenders"]
    assert [each["name"] for each in record["contenders"]] == names
    # The same adapter on the same base, so the first losses are of one size.
    assert ours["adapter_parameters"] == hf["adapter_parameters"]
    assert ours["first_loss"] == pytest.approx(hf["first_loss"], rel=0.1)
    assert hf["last_loss"] < hf["first_loss"] and ours["last_loss"] < ours["first_loss"]
    assert hf["steps_per_epoch"] == 12 and ours["steps_per_epoch"] < 12  # packed
    for entry in (ours, hf):
        assert entry["status"] == "ok", entry["reason"]
        assert entry["median_step_seconds"] > 0 and entry["peak_memory_bytes"] > 2**20
        rate = entry["rows_per_second"]
        assert entry["floor_share"] == rate * record["floor"]["seconds_per_row"]
    if find_spec("unsloth") is None:
        assert (unsloth["status"], unsloth["floor_share"]) == ("not installed", None)
        assert unsloth["reason"] == "unsloth not installed"


def test_what_ran_out_of_time_is_in_the_record_and_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {"kind": "cpu", "name": "two cores", "dtype": "float32", "flops_per_second": 1e9}
    monkeypatch.setattr(comparison, "measured_device", lambda *_: device)
    request = Request(
        shape="tiny", contenders=["hf", "trl-flex"], length=16, dtype="float32", timeout=0.01
    )
    with pytest.raises(KerasftError, match=r"hf: not done after 0\.01 s"):
        bench(request, tmp_path)
    entries = json.loads((tmp_path / "bench.json").read_text())["contenders"]
    assert entries[0]["status"] == "timeout" and len(entries) == 2


def test_every_contender_has_a_module_that_measures() -> None:
    folder = Path(__file__).parents[2] / "kerasft" / "bench"
    for contender in CONTENDERS.values():
        assert "def run(" in (folder / f"{contender.module}.py").read_text(), contender.name
