"""What a twin could get wrong, done to a real model: the gate must see each of it.

The hashes of what is fed and of what training starts from are left out of the judgement where
the model itself must tell, for a twin may hash one thing and compute another.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from safetensors.numpy import load_file, save_file

from kerasft.compare.gate import Looked, gate
from kerasft.compare.hf_side import Batch, HfSide, TrlSide
from kerasft.compare.probing import Probe, measure
from kerasft.console import SilentReporter
from kerasft.hf.learner import HfLearner
from kerasft.preparation import prepare
from tests.small import TINY, WORDS, small_recipe, write_rows

PACKED: dict[str, Any] = {
    "lora__layout": "peft",
    "lora__alpha": 8.0,
    "train__packing": True,
    "train__sequence_length": 128,
    "train__gradient_accumulation": 2,
}

HASHED = {"token ids", "base weights", "starting A and B"}


class Shifted(HfSide):
    """Targets are one token late."""

    def batches(self) -> Iterator[list[Batch]]:
        for window in super().batches():
            yield [{**batch, "labels": batch["labels"].roll(1, dims=1)} for batch in window]


class Unpacked(HfSide):
    """Positions go on from one document of a row to the next, and attention with them."""

    def batches(self) -> Iterator[list[Batch]]:
        for window in super().batches():
            positions = torch.arange(window[0]["input_ids"].shape[1])
            yield [
                {**batch, "position_ids": positions.expand(len(batch["input_ids"]), -1)}
                for batch in window
            ]


class Transposed(HfSide):
    """A is laid out the other way round; its shape is right."""

    def assign(self, values: Any) -> None:
        super().assign(
            {
                name: np.ascontiguousarray(value.T).reshape(value.shape)
                if name.endswith("/a")
                else value
                for name, value in values.items()
            }
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {
            "instruction": f"Say {WORDS[n % len(WORDS)]} number {n}",
            "response": f"the answer is {n % 7}" + n % 4 * " yes",
        }
        for n in range(24)
    ]
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)


@pytest.fixture(scope="module")
def another_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one kernel of the other sign."""
    folder = tmp_path_factory.mktemp("bases") / "other"
    shutil.copytree(TINY, folder)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    name = "model.layers.0.mlp.gate_proj.weight"  # a norm follows the others
    tensors[name] = -tensors[name]
    save_file(tensors, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def probed(source: Path) -> Callable[..., Probe]:
    def probed(kind: type[HfSide] = HfSide, dtype: str = "float32", **settings: Any) -> Probe:
        recipe = small_recipe(source, model__dtype=dtype, **PACKED | settings)
        prepared = prepare(recipe, SilentReporter())
        side = kind(HfLearner(prepared, SilentReporter(), fresh=True), prepared)
        return measure(side, key="", engine="hf", backend="torch", dtype=dtype)

    return probed


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def reference(request: pytest.FixtureRequest, probed: Callable[..., Probe]) -> Probe:
    return probed(dtype=request.param)


def failed(reference: Probe, other: Probe) -> set[str]:
    """The checks that fail, those of the losses of a run left out: nothing was trained here."""
    looked = [{0: Looked(probe, [probe.loss], "hf", 0.0)} for probe in (reference, other)]
    checks = gate(looked[0], "other", looked[1])
    return {check.what for check in checks if not check.passed} - {"first losses"}


def test_the_same_twice_passes(reference: Probe, probed: Callable[..., Probe]) -> None:
    assert failed(reference, probed(dtype=reference.dtype)) == set()


@pytest.mark.parametrize(
    ("settings", "hashed", "told"),
    [
        ({"train__seed": 1}, {"token ids", "starting A and B"}, {"first gradient of A"}),
        ({"lora__alpha": 16.0}, set(), {"first gradient of A", "first gradient of B"}),
        (
            {"lora__target_layers": ["query", "value", "gate"]},
            {"starting A and B"},
            {"trained parameters", "first gradient of A", "first gradient of B"},
        ),
        ({"lora__rank": 8, "lora__alpha": 16.0}, {"starting A and B"}, {"trained parameters"}),
    ],
    ids=["seed", "scale", "dropped layer", "rank"],
)
def test_another_adapter_fails(
    settings: dict[str, Any],
    hashed: set[str],
    told: set[str],
    reference: Probe,
    probed: Callable[..., Probe],
) -> None:
    found = failed(reference, probed(dtype=reference.dtype, **settings))
    assert found & HASHED == hashed
    assert told <= found


@pytest.mark.parametrize(
    ("kind", "hashed", "told"),
    [
        (Shifted, {"token ids"}, {"initial loss", "first gradient of B"}),
        (Unpacked, {"token ids"}, {"initial logits", "first gradient of B"}),
        (Transposed, set(), {"first gradient of A"}),
    ],
    ids=["labels shifted", "packing ignored", "A transposed"],
)
def test_another_computation_fails(
    kind: type[HfSide],
    hashed: set[str],
    told: set[str],
    reference: Probe,
    probed: Callable[..., Probe],
) -> None:
    found = failed(reference, probed(kind, reference.dtype))
    assert found & HASHED == hashed
    assert told <= found


def test_another_base_fails(
    another_base: Path, reference: Probe, probed: Callable[..., Probe]
) -> None:
    found = failed(reference, probed(dtype=reference.dtype, model__preset=str(another_base)))
    assert found & HASHED == {"base weights"}
    assert {"initial logits", "first gradient of B"} <= found


def test_trl_is_probed_through_its_own_loader_and_loss(source: Path, reference: Probe) -> None:
    pytest.importorskip("trl")
    from kerasft.hf.trl_learner import TrlLearner

    found = {}
    for strategy in ("sequential", "random"):
        settings = PACKED | {"model__dtype": reference.dtype}
        prepared = prepare(small_recipe(source, **settings), SilentReporter())
        learner = TrlLearner(prepared, SilentReporter(), fresh=True)
        learner.trainer.args.train_sampling_strategy = strategy
        probe = measure(
            TrlSide(learner, prepared), key="", engine="trl", backend="torch", dtype=reference.dtype
        )
        found[strategy] = failed(reference, probe)
    assert found["sequential"] == set()
    assert "token ids" in found["random"]
