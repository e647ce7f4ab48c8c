"""What a PEFT adapter's card says on loading it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest

from kerasft.export.card_facts import is_dequantised
from kerasft.export.card_use import use_peft
from kerasft.export.peft import write_peft
from tests.export.live import tiny_weights


def said(folder, weights, **options):
    written = write_peft(weights, folder, dtype="float32", **options)
    return use_peft(
        SimpleNamespace(
            title="my-adapter",
            base_model="org/name",
            base_id="name",
            dequantised=is_dequantised(weights.preset, weights.base_id),
            written={"files": written.files},
            adapter_config=json.loads((folder / "adapter_config.json").read_text()),
        )
    )


def test_the_rank_that_vllm_must_keep_room_for_is_stated(tmp_path):
    text = said(
        tmp_path, tiny_weights("llama3", rank=5, preset="hf://org/name")
    )  # 20 for the query's four heads
    assert 'base = "org/name"' in text and "GenerationConfig.from_pretrained(folder)" in text
    assert "vllm serve org/name --enable-lora --max-lora-rank 32" in text


def test_the_base_is_loaded_in_the_revision_that_was_trained_on(tmp_path):
    text = said(tmp_path, tiny_weights("gemma", preset="hf://org/name@abc"))
    assert 'AutoModelForCausalLM.from_pretrained(base, revision="abc"), folder)' in text
    assert "vllm serve org/name --revision abc --enable-lora" in text


def test_the_publishers_base_is_not_called_the_dequantised_one(tmp_path):
    text = said(tmp_path, tiny_weights("gemma3", preset="gemma3-270m"))
    assert '"google/gemma-3-270m"  # the publisher\'s own, of which' in text


def test_a_base_that_peft_cannot_use_is_not_named(tmp_path):
    weights = tiny_weights("gemma3", preset="hf://org/name")
    text = said(tmp_path, dataclasses.replace(weights, wrapped=True))
    assert "org/name" not in text and "the text model that it was trained on" in text


def test_the_base_beside_the_adapter_is_the_one_to_load(tmp_path):
    text = said(tmp_path, tiny_weights("gemma"), with_base=True)
    assert 'base = "my-adapter/base"' in text and "vllm serve my-adapter/base" in text


@pytest.mark.parametrize(("rank", "loads"), [(512, True), (513, False)])
def test_a_rank_above_vllms_is_told(tmp_path, rank, loads):
    text = said(tmp_path, tiny_weights("gemma"), share_rank=rank)
    assert ("vllm serve" in text) == loads
    assert ("its largest rank is 512" in text) != loads
