"""The probes of a comparison's runs: each in a process of its own, kept and taken up again."""

import hashlib
import json
from pathlib import Path

from kerasft.bench.processes import run_module
from kerasft.compare.probing import Probe
from kerasft.errors import RunError
from kerasft.resuming import flat
from kerasft.runs import RunFolder
from kerasft.versions import versions


def key_of(run: RunFolder) -> str:
    """A hash of what a probe depends on: recipe, engine, backend, type, base, rows, versions."""
    record = run.record()
    known = {
        "recipe": flat(run.recipe()),
        **{name: record.get(name) for name in ("engine", "backend", "dtype", "base", "remat")},
        "data": (record.get("data") or {}).get("content_hash"),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def probe_of(run: RunFolder, path: Path, log: Path) -> Probe | str:
    """The probe of a run: the one that is kept at `path`, or a new one.

    Args:
        run: that was trained.
        path: .safetensors, where it is kept.
        log: gets the output of the process.

    Returns:
        The probe, or why there is none, in a sentence.
    """
    kept = _kept(path)
    if kept is not None and kept.key == key_of(run):
        return kept
    ended = run_module(["kerasft.compare.probe", str(run.path), str(path)], log)
    if ended.status != "ok":
        return ended.reason
    return Probe.load(path)


def _kept(path: Path) -> Probe | None:
    try:
        return Probe.load(path) if path.exists() else None
    except RunError:
        return None
