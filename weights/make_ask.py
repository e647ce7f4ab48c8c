"""Makes weights/ask, the adapter that `kerasft ask` takes by default, from a finished run.

    python weights/make_ask.py round RUN          before the run is scored and exported
    python weights/make_ask.py ship RUN EXPORT    after; EXPORT is a folder that `export` verified

`round` stores the run's adapter in bfloat16, so that what is scored and verified is what is
shipped. `ship` copies the adapter, its recipe, its scores and its proof; the card, README.md,
is written by hand. ask/README.md has the commands in their order.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from kerasft.models import adapter
from kerasft.recipe import load, to_toml

ASK = Path(__file__).parent / "ask"
DTYPE = "bfloat16"
LARGEST = 4_000_000
"""Bytes: it comes with every installation."""

SCORES = ("data", "rows", "started", "decoding", "backend", "device", "versions", "tuned")
SCORES += ("base", "comparison", "with_retry", "forgetting")
"""What is shipped of an evaluation; its command, its examples and its groups stay behind."""


def main(command: str, run: Path, *export: Path) -> None:
    if command == "round":
        info = adapter.read_info(run / "adapter")
        adapter.save(run / "adapter", adapter.read_tensors(run / "adapter"), info, DTYPE)
        return
    if command != "ship" or len(export) != 1:
        sys.exit(__doc__)
    proof = json.loads((export[0] / "verification.json").read_text("utf-8"))
    if proof["status"] != "passed":
        sys.exit(f"{export[0]} is not verified: {proof['status']}")
    if adapter.read_info(run / "adapter").adapter_dtype != DTYPE:
        sys.exit(f"{run}'s adapter is not in {DTYPE}: `round` it before it is scored")
    size = (run / "adapter" / adapter.WEIGHTS).stat().st_size
    if size > LARGEST:
        sys.exit(f"{run}'s adapter has {size:,} bytes; at most {LARGEST:,} are shipped")
    for name in (adapter.WEIGHTS, adapter.DESCRIPTION):
        shutil.copyfile(run / "adapter" / name, ASK / name)
    source = Path(load(str(run / "recipe.toml")).data.source).name
    recipe = load(str(run / "recipe.toml"), {"data.source": source})
    (ASK / "recipe.toml").write_text(to_toml(recipe), "utf-8")
    _write("scores.json", {file.stem: _scores(file) for file in sorted(run.glob("eval/*.json"))})
    shutil.copyfile(export[0] / "verification.json", ASK / "verification.json")


def _scores(file: Path) -> dict[str, Any]:
    result = json.loads(file.read_text("utf-8"))
    return {key: _totals(result[key]) for key in SCORES if result.get(key)}


def _totals(value: Any) -> Any:
    """Without lists of rows and without the scores of groups."""
    if not isinstance(value, dict):
        return value
    return {
        key: _totals(each)
        for key, each in value.items()
        if not isinstance(each, list) and not key.startswith("by_")
    }


def _write(name: str, value: object) -> None:
    (ASK / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
