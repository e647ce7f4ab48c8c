"""`kerasft bench` from the command line: what is asked for, what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from kerasft.bench import comparison
from kerasft.bench.comparison import Request
from kerasft.bench.shapes import SHAPES
from kerasft.cli.bench_types import SHAPES as NAMED
from kerasft.cli.main import run

RECORD: dict[str, Any] = {
    "work": {
        "shape": "gemma-2b",
        "preset": None,
        "recipe": None,
        "rank": 4,
        "targets": ["query", "value"],
        "layout": "keras",
        "batch_size": 8,
        "length": 512,
        "tokens": 4096,
        "supervised_tokens": 4088,
        "remat": False,
    },
    "device": {"name": "A card", "dtype": "bfloat16", "flops_per_second": 790e12},
    "floor": {"flops_per_row": 5.2e12, "seconds_per_row": 0.0066, "flops_per_full_step": 41.6e12},
    "contenders": [
        {
            "name": "kerasft-torch",
            "status": "ok",
            "reason": "",
            "first_step_seconds": 21.04,
            "median_step_seconds": 0.0712,
            "tokens_per_second": 57_500.4,
            "supervised_tokens_per_second": 57_388.0,
            "rows_per_second": 112.3,
            "peak_memory_bytes": 11 * 2**30,
            "floor_share": 0.739,
            "first_loss": 12.46,
            "last_loss": 12.31,
            "adapter_parameters": 1_363_968,
            "notes": ["compiled"],
        },
        {"name": "unsloth", "status": "timeout", "reason": "not done after 9 s"},
    ],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, Path]]:
    calls: list[tuple[Request, Path]] = []

    def fake(request: Request, out: Path, reporter: Any) -> dict[str, Any]:
        calls.append((request, out))
        return RECORD

    monkeypatch.setattr(comparison, "bench", fake)
    return calls


def test_the_table_has_the_numbers_and_the_failure(
    asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("kerasft-torch"))
    for shown in ("21.0", "71.2", "57,500", "11.00", "74%", "12.460 → 12.310", "1,363,968"):
        assert shown in line
    assert "timeout: not done after 9 s" in out
    assert "41.6 a step, 52.7 ms at the 790 TFLOP/s of a large bfloat16 product" in out
    assert asked[0][1] == Path("runs/bench-gemma-2b")


def test_json_is_the_record(asked: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--json", "--out", "here"]) == 0
    assert json.loads(capsys.readouterr().out) == {**RECORD, "out": "here"}


def test_options_reach_the_request(asked: list) -> None:
    words = (
        "bench --shape llama3.1-8b --contenders hf,trl --targets query,up --rank 16 --remat block "
        "--layout peft --batch-size 4 --length 64 --supervised 0.5 --steps 7 --warmup 2"
    )
    assert run(words.split()) == 0
    request = asked[0][0]
    assert request == Request(
        shape="llama3.1-8b",
        overrides={},
        contenders=("hf", "trl"),
        targets=("query", "up"),
        rank=16,
        remat=True,
        layout="peft",
        batch_size=4,
        length=64,
        supervised=0.5,
        steps=7,
        warmup=2,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shape", "gemma-2b", "--preset", "gemma3-270m"], "--preset for real ones"),
        (["--steps", "0"], "give --recipe too"),
        (["--set", "a.b=1"], "give --recipe too"),
        (["--contenders", "hf,hff"], "hff not known; there are kerasft-torch"),
        (["--targets", "q_proj"], "q_proj not known; there are query"),
        (["--shape", "gemma-3b"], "gemma-3b"),
    ],
)
def test_wrong_usage_is_told(
    asked: list, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["bench", *options]) == 2
    assert said in capsys.readouterr().err and not asked


def test_the_shapes_of_the_help_are_those_that_there_are() -> None:
    assert tuple(SHAPES) == NAMED
