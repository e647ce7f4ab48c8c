"""The probes of a comparison's runs: each in a process of its own, kept and taken up again."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasft.bench.processes import run_modules
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


@dataclass(frozen=True)
class Wanted:
    """A probe that is asked for.

    Attributes:
        run: that was trained.
        path: .safetensors, where the probe is kept.
        log: gets the output of the process.
    """

    run: RunFolder
    path: Path
    log: Path


def probes_of(wanted: Sequence[Wanted], at_once: int) -> list[Probe | str]:
    """The probes of runs: those that are kept, and new ones.

    Args:
        wanted: in any order.
        at_once: the most processes at any time.

    Returns:
        Each probe or, in a sentence, why there is none.
    """
    found: dict[int, Probe | str] = {}
    missing = []
    for place, each in enumerate(wanted):
        kept = _kept(each.path)
        if kept is not None and kept.key == key_of(each.run):
            found[place] = kept
        else:
            missing.append(place)
    tasks = [
        (["kerasft.compare.probe", str(each.run.path), str(each.path)], each.log)
        for each in (wanted[place] for place in missing)
    ]
    for place, ended in zip(missing, run_modules(tasks, at_once), strict=True):
        found[place] = Probe.load(wanted[place].path) if ended.status == "ok" else ended.reason
    return [found[place] for place in range(len(wanted))]


def _kept(path: Path) -> Probe | None:
    try:
        return Probe.load(path) if path.exists() else None
    except RunError:
        return None
