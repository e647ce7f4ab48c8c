"""How much memory an export takes: a random model of a published shape, through the CLI.

    python -m tests.export.large_export --work DIR [--shape llama3.1-8b] [--to hf] [--dtype …]
        [--layers N]

DIR needs room for the model twice (32 GB for 8 billion parameters in bfloat16) and is
left empty. Prints one JSON object: bytes of the model and of the export, seconds, the
peak resident and proportional set sizes, and how the proof was made. The peak is that of
the largest tensor, so that `--layers 2` shows it in a tenth of the time. Linux.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.bench.shapes import SHAPES
from kerasft.data.prompts import template_for
from kerasft.export.hf import write_hf
from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.models.families import TensorSpec
from kerasft.recipe import PromptSettings
from tests.export.live import make_run, tiny_tokenizer

_POOL_VALUES = 1 << 24
_SIZE = 0.02
"""Of the weights, so that bfloat16 holds what the adapter adds to them."""


class RandomBase:
    """A `WeightsView` of random bfloat16 values in a shape, without an adapter."""

    base_dtype = "bfloat16"
    lora_settings = None

    def __init__(self, shape: str, layers: int | None = None) -> None:
        self.family, self.config = SHAPES[shape].table, dict(SHAPES[shape].config)
        self.config["num_layers"] = layers or self.config["num_layers"]
        self.tokenizer = tiny_tokenizer(self.family.name)
        turns = "llama3" if self.family.name == "llama3" else "gemma"
        self.template = template_for(PromptSettings(template=turns), "text_to_sql")
        pool = np.random.default_rng(0).standard_normal(_POOL_VALUES, np.float32)
        self._pool = (_SIZE * pool).astype(numpy_dtype("bfloat16"))

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        start = sum(spec.name.encode()) * 997 % (_POOL_VALUES // 2)
        return np.resize(self._pool[start:], spec.shape)

    def delta(self, name: str) -> None:
        return None


def watched(command: list[str], every: float = 0.2) -> tuple[int, float]:
    """Runs a command; the peak proportional set size of it and its children, and seconds.

    Raises:
        SystemExit: the command failed.
    """
    peak, start = 0, time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(every):
            peak = max(peak, sum(_pss(pid) for pid in _family_of(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(code)
    return peak, time.perf_counter() - start


def _family_of(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family_of(int(child)))]


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def measure(
    work: Path, shape: str, to: str, dtype: str | None = None, layers: int | None = None
) -> dict[str, Any]:
    """Makes base and run, exports, and measures; removes all of it."""
    base, out = work / "base", work / "out"
    base.mkdir(parents=True)
    try:
        weights = RandomBase(shape, layers)
        written = write_hf(weights, base, dtype="bfloat16")
        run = make_run(work / "run", str(base), dtype="bfloat16", size=0.3, layout="peft")
        command = [sys.executable, "-m", "kerasft", "export", str(run), "--to", to]
        pss, seconds = watched(
            [*command, "--out", str(out), *(["--dtype", dtype] if dtype else []), "--json"]
        )
        proof = json.loads((out / "verification.json").read_text("utf-8"))
        files = [file for file in out.rglob("*") if file.is_file()]
        return {
            "shape": shape,
            "parameters": written.parameters,
            "to": to,
            "dtype": proof["weight_dtype"],
            "base_bytes": sum(written.files.values()),
            "export_bytes": sum(file.stat().st_size for file in files),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10,
            "peak_pss_bytes": pss,
            "seconds": round(seconds, 1),
            "status": proof["status"],
            "method": proof["method"],
            "note": proof["note"],
            "tensors": proof["tensors"],
        }
    finally:
        for folder in (base, out, work / "run"):
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="llama3.1-8b")
    parser.add_argument("--to", default="hf")
    parser.add_argument("--dtype")
    parser.add_argument("--layers", type=int)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
