"""What a dry run says of a recipe."""

from __future__ import annotations

import pytest

from kerasft.errors import DataError
from kerasft.models.families import FAMILIES
from kerasft.models.presets import KNOWN
from kerasft.planning import dry_run, trainable_parameters
from kerasft.recipe import LoraSettings

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
    assert plan["steps"] == 2 * -(-plan["rows"] // 8)
    assert 0 < plan["supervised_tokens"] < plan["tokens"]
    assert plan["unknown"] is None and plan["download_bytes"] == 0
    more = dry_run("sql", backend=backend, **{**settings, "train.batch_size": 16})
    assert more["memory_bytes"] > plan["memory_bytes"]


def test_the_adapter_of_gemma_2b_has_keras_hubs_and_pefts_sizes():
    known = KNOWN["gemma_2b_en"]
    family = FAMILIES[known.family]
    sizes = {
        layout: trainable_parameters(family, known.config, LoraSettings(layout=layout, rank=4))
        for layout in ("keras", "peft")
    }
    assert sizes == {"keras": 1_363_968, "peft": 460_800}


def test_wrong_local_rows_are_told(tmp_path, tiny_gemma3, backend):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "context": "", "sql": ""}\n', "utf-8")
    settings = {"model.preset": str(tiny_gemma3), "data.source": str(rows), "data.validation": 0}
    with pytest.raises(DataError, match="sql"):
        dry_run("sql", backend=backend, **settings)
