"""Puts the probes to a folder's reader in a fresh process, and reads its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kerasft.export.formats import Format
    from kerasft.export.probes import Probes

MAX_NEW_TOKENS = 16

Ask = Callable[["Format", Path, Path], str | None]
"""(format, folder, scratch) → why the folder cannot be loaded, or None: `ask_process`."""


def put(
    scratch: Path,
    probes: Probes,
    *,
    logits: bool,
    compute_dtype: str,
    backend: str,
    base: Path | None = None,
) -> None:
    """Write the questions that `kerasft.export.readers` describes."""
    arrays = {f"row_{index}": row for index, row in enumerate(probes.rows)}
    arrays |= {f"positions_{index}": at for index, at in enumerate(probes.positions)}
    np.savez(scratch / "rows.npz", **arrays)
    request = {
        "logits": logits,
        "compute_dtype": compute_dtype,
        "backend": backend,
        "prompts": probes.prompts,
        "max_new_tokens": MAX_NEW_TOKENS,
        "texts": probes.texts,
        "message": probes.texts[0],
        "base": None if base is None else str(base.absolute()),
    }
    (scratch / "asked.json").write_text(json.dumps(request), encoding="utf-8")


def answered(scratch: Path) -> dict[str, Any]:
    """What the reader left, its logits apart."""
    return json.loads((scratch / "answered.json").read_text(encoding="utf-8"))


def ask_process(form: Format, folder: Path, scratch: Path) -> str | None:
    """Runs a format's reader in a process of its own; the last line of its error if it fails."""
    package_root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")])),
        # The reference is computed on the CPU, where float32 products are float32.
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": json.loads((scratch / "asked.json").read_bytes())["backend"],
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", form.reader, str(folder.absolute()), str(scratch)],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"
