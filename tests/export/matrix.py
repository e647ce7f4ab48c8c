"""Every family × base dtype × format, exported and proved: the table of docs/export.md.

    python -m tests.export.matrix --backend torch              the tiny models
    python -m tests.export.matrix --backend torch --run RUN    a run on real weights

Each adds its cells to docs/export-matrix.json, in the place of those that were measured before
on the same model and backend; `python docs/make_export.py` then fills the page.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.export.formats import FORMATS
from kerasft.export.verify import verify_folder
from kerasft.export.views import untouched
from tests.export.live import TinyWeights, ask_here, live_of, tiny_weights

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel
    from kerasft.export.verify import Verification

FILE = Path(__file__).parents[2] / "docs" / "export-matrix.json"
TITLES = {"gemma": "Gemma", "gemma2": "Gemma 2", "gemma3": "Gemma 3", "llama3": "Llama 3.1"}
BASES = ("float32", "bfloat16", "bfloat16, from Q8_0", "bfloat16, from int8")
"""The dtype that was trained on, and the quantised file that it was dequantised from."""

CASES = tuple((family, base) for family in TITLES for base in BASES)


def formats(own: str) -> tuple[tuple[str, str], ...]:
    """The formats and dtypes of a base in a dtype: its own, and each that no other holds."""
    return (
        ("hf", own),
        ("peft", "float32"),
        ("gguf", own),
        ("gguf", "q8_0"),
        ("keras", own),
    )


def tiny_base(family: str, base: str, folder: Path) -> TinyWeights:
    """Tiny trained weights, read from a quantised file where the base comes from one."""
    dtype, _, source = base.partition(", from ")
    # Rows of whole blocks of 32, and the scale of queries that GGUF implies.
    halved = family in ("gemma", "gemma2")
    sizes: dict[str, Any] = {"intermediate_dim": 128 if halved else 64}
    if family == "gemma2":
        sizes["query_head_dim_normalize"] = True
    weights = tiny_weights(family, base_dtype=dtype, **sizes)
    if not source:
        return weights
    folder.mkdir()
    opened = (_through_gguf if source == "Q8_0" else _through_int8)(weights, folder)
    arrays = {spec.name: np.array(opened.read(spec, "float32")) for spec in opened.specs}
    return replace(weights, arrays=arrays)


def _through_gguf(weights: TinyWeights, folder: Path) -> Any:
    from kerasft.export.gguf import write_gguf
    from kerasft.models.opened import open_path

    write_gguf(untouched(weights), folder, dtype="q8_0")
    return open_path(next(folder.glob("*.gguf")))


def _through_int8(weights: TinyWeights, folder: Path) -> Any:
    from kerasft.export.keras import write_keras
    from kerasft.models.opened import open_path

    live = live_of(weights, adapted=False)
    live.causal_lm.backbone.quantize("int8")
    # The tokenizer of the preset, with the quantised backbone's files over the float ones.
    write_keras(untouched(weights), folder, dtype="float32")
    live.causal_lm.backbone.save_to_preset(str(folder))
    return open_path(folder)


class Remembering:
    """A live model that computes an answer once: every format of it is asked the same."""

    def __init__(self, live: LoadedModel) -> None:
        self._live = live
        self._answers: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        return self._once("logits", token_ids.tobytes(), token_ids)

    def base_logits(self, token_ids: np.ndarray) -> np.ndarray:
        return self._once("base_logits", token_ids.tobytes(), token_ids)

    def generate_ids(self, *asked: Any) -> list[list[int]]:
        return self._once("generate_ids", repr(asked), *asked)

    def _once(self, name: str, key: Any, *asked: Any) -> Any:
        if (name, key) not in self._answers:
            self._answers[name, key] = getattr(self._live, name)(*asked)
        return self._answers[name, key]


def tiny_cells(family: str, base: str, folder: Path, backend: str) -> Iterator[dict[str, Any]]:
    """Exports one tiny model in every format and proves each; yields the cells."""
    weights = tiny_base(family, base, folder / "base")
    live = Remembering(live_of(weights))
    for form, dtype in formats(weights.base_dtype):
        out = folder / f"{form}-{dtype}"
        out.mkdir()
        FORMATS[form].load("writer")(weights, out, dtype=dtype)
        found = verify_folder(weights, out, live=lambda: live, ask=ask_here, backend=backend)
        yield cell(f"tiny {TITLES[family]}", base, form, dtype, found)


def real_cells(run: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Exports a run in every format, each proved in a process of its own; yields the cells."""
    from kerasft.export import export_run
    from kerasft.models.adapter import read_info

    info = read_info(run / "adapter")
    for form, dtype in formats(info.dtype):
        found = export_run(run, form, folder / f"{form}-{dtype}", dtype=dtype).verification
        base = f"{info.dtype}, from Q4_K_M" if info.preset == "gemma3-270m" else info.dtype
        yield cell(info.preset, base, form, dtype, found)


def cell(model: str, base: str, form: str, dtype: str, found: Verification) -> dict[str, Any]:
    """One entry of export-matrix.json; `reason` where no logits were compared."""
    entry: dict[str, Any] = {
        "model": model,
        "base_dtype": base,
        "format": form,
        "dtype": dtype,
        "backend": found.backend,
        "status": found.status,
        "faults": found.faults,
    }
    if found.comparison is None:
        return entry | {"reason": found.note}
    numbers = ("largest_difference", "logit_range", "top1_agreement")
    return entry | {name: getattr(found.comparison, name) for name in numbers}


def _keep(cells: list[dict[str, Any]]) -> None:
    known = json.loads(FILE.read_text("utf-8"))
    made = {(each["model"], each["backend"]) for each in cells}
    known["cells"] = [
        each for each in known["cells"] if (each["model"], each["backend"]) not in made
    ] + cells
    FILE.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("torch", "jax"), required=True)
    parser.add_argument("--run", type=Path)
    asked = parser.parse_args()
    os.environ["KERAS_BACKEND"] = asked.backend
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        if asked.run:
            cells = list(real_cells(asked.run, Path(scratch)))
        else:
            for number, (family, base) in enumerate(CASES):
                folder = Path(scratch) / str(number)
                folder.mkdir()
                cells += tiny_cells(family, base, folder, asked.backend)
    _keep(cells)
    for each in cells:
        print(*(value for key, value in each.items() if key != "backend"))


if __name__ == "__main__":
    main()
