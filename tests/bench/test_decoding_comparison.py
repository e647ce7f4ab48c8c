"""A whole decoding benchmark on a tiny run: processes, equal answers, rates side by side."""

import json
from pathlib import Path

import pytest

from kerasft.bench import decoding_comparison
from kerasft.bench.contenders import DECODE_PEERS, DECODERS
from kerasft.bench.decoding_comparison import (
    DecodeRequest,
    against_peers,
    bench_decoding,
    equal_shares,
)
from kerasft.errors import KerasftError
from tests.small import TinyRun, say_rows, write_rows


@pytest.fixture
def known_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device as it would be measured, without the process that does so."""
    device = {"kind": "cpu", "name": "two cores", "dtype": "float32"}
    monkeypatch.setattr(decoding_comparison, "measured_device", lambda *_: device)


@pytest.mark.keras
@pytest.mark.once
@pytest.mark.usefixtures("known_device")
def test_a_run_and_its_merged_weights_give_the_same_answers(
    tiny_run: TinyRun, backend: str, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", say_rows(9)[4:])
    request = DecodeRequest(
        target=str(tiny_run.result.run.path),
        data=str(rows),
        contenders=[f"kerasft-{backend}", "hf"],
        batch_sizes=[2, 4],
        timeout=300,
    )
    record = bench_decoding(request, tmp_path / "out")
    assert record == json.loads((tmp_path / "out" / "bench.json").read_text())
    work = record["work"]
    assert (work["rows"], work["max_new_tokens"], work["batch_sizes"]) == (5, 8, [2, 4])
    assert work["longest_prompt"] * 5 >= work["prompt_tokens"] > 25
    ours, hf = record["contenders"]
    for entry in (ours, hf):
        assert entry["status"] == "ok", entry["reason"]
        assert [batch["batch_size"] for batch in entry["batches"]] == [2, 4]
        assert entry["best"] in entry["batches"] and "answers" not in entry
        assert entry["best"]["second_pass_seconds"] > 0
    # The adapter beside the weights here and merged there: the same model in float32.
    assert hf["equal_answers"] == {ours["name"]: 1.0}
    assert ours["best"]["new_tokens"] == hf["best"]["new_tokens"] > 0
    times = record["times_fastest_peer"]
    assert record["fastest_peer"] == "hf" and times["hf"] == 1.0
    rate = ours["best"]["rows_per_second"] / hf["best"]["rows_per_second"]
    assert times[ours["name"]] == pytest.approx(rate)


@pytest.mark.usefixtures("known_device")
def test_what_ran_out_of_time_is_an_error(tmp_path: Path) -> None:
    request = DecodeRequest(shape="tiny", limit=2, contenders=["hf"], dtype="float32", timeout=0.01)
    with pytest.raises(KerasftError, match=r"hf: not done after 0\.01 s"):
        bench_decoding(request, tmp_path)
    (entry,) = json.loads((tmp_path / "bench.json").read_text())["contenders"]
    assert entry["status"] == "timeout"


def test_a_bare_model_needs_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(KerasftError, match=r"gemma3-270m is no run, .* or --recipe"):
        bench_decoding(DecodeRequest(target="gemma3-270m"), tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(KerasftError, match="logs cannot be written"):
        bench_decoding(DecodeRequest(shape="tiny", limit=1, contenders=["hf"]), file / "out")


def test_equal_answers_have_the_same_tokens() -> None:
    answers = [[1, 2], [3], [], [4]]
    found = equal_shares(answers, {"a": [[1, 2], [3], [], [4]], "b": [[1], [3], [], [4, 5]]})
    assert found == {"a": 1.0, "b": 0.5}


def test_rates_are_over_the_fastest_peer_at_its_best() -> None:
    def entry(name: str, rate: float | None) -> dict:
        return {"name": name, "best": None if rate is None else {"rows_per_second": rate}}

    found = against_peers([entry("kerasft-jax", 90.0), entry("hf", 20.0), entry("hf-static", 30.0)])
    assert found["fastest_peer"] == "hf-static"
    assert found["times_fastest_peer"] == {
        "kerasft-jax": 3.0,
        "hf": pytest.approx(2 / 3),
        "hf-static": 1.0,
    }
    alone = against_peers([entry("kerasft-jax", 90.0), entry("hf", None)])
    assert alone == {"fastest_peer": None, "times_fastest_peer": {}}


def test_every_decoder_has_a_module_that_measures() -> None:
    folder = Path(__file__).parents[2] / "kerasft" / "bench"
    for contender in DECODERS.values():
        assert "def run(" in (folder / f"{contender.module}.py").read_text(), contender.name
    assert set(DECODE_PEERS) < set(DECODERS)
