"""What a dry run says of a recipe."""

from __future__ import annotations

import pytest

from kerasft.errors import DataError, KerasftError
from kerasft.planning import dry_run

pytestmark = pytest.mark.keras


def test_a_local_recipe_is_counted_without_weights(monkeypatch, tiny_gemma3, backend):
    def refuse(*_, **__):
        raise AssertionError("a dry run loads no weights")

    monkeypatch.setattr("kerasft.models.sources.load_base", refuse)
    settings = {
        "model.preset": str(tiny_gemma3),
        "data.limit": 30,
        "data.validation": 6,
        "train.sequence_length": 1024,
        "train.batch_size": 8,
        "train.epochs": 2,
    }
    plan = dry_run("sql", backend=backend, **settings)
    assert plan["rows"] + plan["dropped_rows"] == 24 and plan["validation_rows"] <= 6
    assert plan["steps"] == 2 * -(-plan["packed_rows"] // 8)
    assert plan["packed_rows"] <= plan["rows"] / 2 and plan["window_shapes"] == 1
    assert 0 <= plan["padding_share"] < 1
    assert 0 < plan["supervised_tokens"] < plan["tokens"]
    assert plan["unknown"] is None and plan["download_bytes"] == 0
    more = dry_run("sql", backend=backend, **{**settings, "train.batch_size": 16})
    assert more["memory_bytes"] > plan["memory_bytes"]
    assert plan["remat"] == "none" and plan["shortage"] is None
    apart = dry_run("sql", backend=backend, **settings, **{"train.packing": False})
    assert apart["packed_rows"] is None
    assert apart["steps"] == 2 * -(-plan["rows"] // 8)


def test_a_base_that_is_not_here_is_sized_by_full_windows(tmp_path, backend):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "context": "CREATE TABLE t (a);", "sql": "SELECT 1"}\n' * 4)
    settings = {"model.preset": "gemma_2b_en", "data.source": str(rows), "data.validation": 0}
    settings |= {"data.limit": 0, "train.batch_size": 8, "train.sequence_length": 512}
    plans = {
        remat: dry_run("sql", backend=backend, **settings, **{"train.remat": remat})
        for remat in ("none", "block")
    }
    assert all(plan["steps"] is None for plan in plans.values())
    assert {name: plan["remat"] for name, plan in plans.items()} == {
        "none": "none",
        "block": "block",
    }
    # What 18 blocks keep of 8 × 512 tokens is 5.7 GiB in bfloat16; XLA on a CPU keeps it anyway.
    saved = plans["none"]["memory_bytes"] - plans["block"]["memory_bytes"]
    assert saved > 4 * 2**30 if backend == "torch" else saved == 0


def test_what_cannot_be_trained_here_is_refused(tiny_gemma3, backend):
    settings = {"model.preset": str(tiny_gemma3), "model.quantization": "float8"}
    with pytest.raises(KerasftError, match=r"(torch|JAX) runs on cpu here; set it to none"):
        dry_run("sql", backend=backend, **settings)


def test_wrong_local_rows_are_told(tmp_path, tiny_gemma3, backend):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "context": "", "sql": ""}\n', "utf-8")
    settings = {"model.preset": str(tiny_gemma3), "data.source": str(rows), "data.validation": 0}
    with pytest.raises(DataError, match="sql"):
        dry_run("sql", backend=backend, **settings)
