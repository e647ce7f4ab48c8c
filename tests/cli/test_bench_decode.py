"""`kerasft bench decode` from the command line: what is asked for, what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from kerasft.bench import decoding_comparison
from kerasft.bench.decoding_comparison import DecodeRequest
from kerasft.cli.main import run

BATCH: dict[str, Any] = {
    "batch_size": 64,
    "status": "ok",
    "first_pass_seconds": 20.04,
    "second_pass_seconds": 4.0,
    "rows_per_second": 258.5,
    "new_tokens": 40_000,
    "new_tokens_per_second": 10_000.4,
    "peak_memory_bytes": 3 * 2**30,
}
BEST = BATCH | {"batch_size": 256, "second_pass_seconds": 2.0, "rows_per_second": 517.0}

RECORD: dict[str, Any] = {
    "work": {
        "run": "runs/sql",
        "preset": "gemma3-270m",
        "rows": 1034,
        "prompt_tokens": 412_345,
        "longest_prompt": 1500,
        "max_new_tokens": 96,
    },
    "device": {"name": "A card", "dtype": "bfloat16"},
    "contenders": [
        {
            "name": "kerasft-jax",
            "status": "ok",
            "reason": "",
            "batches": [BATCH, BEST, {"batch_size": 1024, "status": "out of memory"}],
            "best": BEST,
            "notes": ["adapter beside the weights"],
            "equal_answers": {"kerasft-torch": 0.981},
        },
        {"name": "hf-static", "status": "timeout", "reason": "not done after 9 s"},
    ],
    "fastest_peer": "hf",
    "times_fastest_peer": {"kerasft-jax": 3.456},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[DecodeRequest, Path]]:
    calls: list[tuple[DecodeRequest, Path]] = []

    def fake(request: DecodeRequest, out: Path, reporter: Any) -> dict[str, Any]:
        calls.append((request, out))
        return RECORD

    monkeypatch.setattr(decoding_comparison, "bench_decoding", fake)
    return calls


def test_every_batch_has_its_line_and_the_best_its_ratio(
    asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "decode", "runs/sql"]) == 0
    lines = capsys.readouterr().out.splitlines()
    small, best, large = [line for line in lines if line.startswith("kerasft-jax ")][:3]
    for shown in ("64", "20.04", "4.00", "258.5", "10,000", "3.00"):
        assert shown in small
    assert best.startswith("kerasft-jax *") and "3.46" in best and "*" not in small
    assert "1024" in large and "out of memory" in large
    assert any("timeout: not done after 9 s" in line for line in lines)
    assert any("98.1% of answers are equal" in line for line in lines)
    assert any("1,034 rows with 412,345 tokens (the longest 1,500)" in line for line in lines)
    assert asked[0][1] == Path("runs/bench-decode-sql")


def test_json_is_the_record(asked: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "decode", "--json", "--out", "here"]) == 0
    assert json.loads(capsys.readouterr().out) == {**RECORD, "out": "here"}


def test_options_reach_the_request(asked: list) -> None:
    words = (
        "bench decode gemma3-270m --recipe sql --data rows.jsonl --limit 9 --set eval.limit=3 "
        "--contenders hf,kerasft-jax --batch-sizes 8,16 --max-new-tokens 5 --dtype float32"
    )
    assert run(words.split()) == 0
    assert asked[0][0] == DecodeRequest(
        target="gemma3-270m",
        recipe="sql",
        data="rows.jsonl",
        limit=9,
        overrides=("eval.limit=3",),
        contenders=("hf", "kerasft-jax"),
        batch_sizes=(8, 16),
        max_new_tokens=5,
        dtype="float32",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "sql"], "name one"),
        (["gemma3-270m", "--shape", "gemma-2b"], "--shape for random weights"),
        (["--contenders", "hf,trl"], "trl not known; there are kerasft-torch"),
        (["--batch-sizes", "64,0"], "expected whole numbers from 1"),
        (["--batch-sizes", "many"], "expected whole numbers from 1"),
        (["--shape", "gemma-3b"], "gemma-3b"),
    ],
)
def test_wrong_usage_is_told(
    asked: list, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["bench", "decode", *options]) == 2
    assert said in capsys.readouterr().err and not asked


def test_options_of_the_step_are_not_dropped(
    asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--shape", "gemma-2b", "decode"]) == 2
    assert "--shape: options of `bench decode` stand after it" in capsys.readouterr().err
    assert not asked
