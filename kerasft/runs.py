"""The run folder: where a run keeps its recipe, its record, its numbers and its adapter.

    RUN/
      recipe.toml     the resolved recipe, every default written out
      run.json        the record: the fields of `RECORD`, and nothing else
      metrics.jsonl   one line an optimizer step
      adapter/  checkpoints/  eval/  plots/

The record is rewritten whole at every change, aside and renamed, so that a reader
never sees half of one. What may stand in it is a closed list; text that repeats
a secret of the environment is masked before it is written.
"""

import contextlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerasft.caches import folder_bytes
from kerasft.errors import RunError
from kerasft.locking import held_by, is_locked
from kerasft.recipe import Recipe, resolve, to_toml
from kerasft.records import cannot_write, plain, read_json, write_json, write_text

RECORD = {
    "name": "The recipe's name, or its file's.",
    "status": "running, finished, stopped or failed.",
    "why": "Why it stopped or failed, in a sentence.",
    "stopped_by": "What stopped it: signal or time budget; empty where nothing did.",
    "started": "When it was created, UTC.",
    "finished": "When it ended, UTC.",
    "attempts": "How often it was begun or gone on with.",
    "engine": "What trained it: keras, hf or trl.",
    "backend": "torch or jax.",
    "versions": "Versions of Python and of the packages that take part.",
    "device": "The device and its memory, in words.",
    "dtype": "Type of the frozen base, resolved.",
    "quantization": "Type that the frozen matrices were rounded to for training, or none.",
    "seed": "The seed of training.",
    "data": "Source, content hash, and counts of the rows.",
    "base": "The base model: preset, id and fingerprint.",
    "parameters": "How many there are, and how many of them are trained.",
    "steps": "Optimizer steps done.",
    "planned_steps": "Optimizer steps of the whole run.",
    "tokens": "Tokens trained on, padding left out.",
    "supervised_tokens": "Tokens that the loss covered.",
    "first_loss": "Loss of the first step.",
    "last_loss": "Loss of the last step.",
    "validation": "Validation losses: before, after, best and its step.",
    "padding_share": "Share of the first epoch's places that are padding.",
    "remat": "Whether blocks were computed again for the backward pass: none or block.",
    "compilations": "How many calls compiled something, and the seconds that they took.",
    "first_step_seconds": "From the start of training to the end of its first step.",
    "tokens_per_second": "Median over the steps after the first, which compiles.",
    "input_wait_share": "Share of the training time in which the step waited for its window.",
    "peak_memory_bytes": "Largest memory of the device, or of the process on a CPU.",
    "seconds": "Training time, loading and validation left out.",
    "saving": "Checkpoints written, seconds that steps waited for them, the longest, bytes.",
    "spikes": "Steps whose loss stands out from those before, with the rows of each.",
    "skipped": "Steps whose update was not finite and was left out, with the rows of each.",
    "samples": "Answers before and after training.",
}
"""What run.json may hold. `schema_version` stands beside them."""

STATUSES = ("running", "finished", "stopped", "failed")
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True)
class RunFolder:
    """An existing run folder."""

    path: Path

    @classmethod
    def create(
        cls, out: Path | None, recipe: Recipe, name: str, *, room_bytes: int = 64 << 20
    ) -> "RunFolder":
        """Make the folder of a new run, before anything heavy is loaded.

        Args:
            out: the folder; `runs/NAME-DATE-TIME` where it is None.
            recipe: the resolved recipe, written to recipe.toml.
            name: the recipe's name.
            room_bytes: what the run will write, as `kerasft.disk.run_bytes` has it.

        Raises:
            RunError: the folder holds something already, cannot be written to, or
                its disk has too little room. Nothing is left behind then.
        """
        path = Path(out) if out is not None else _fresh(Path("runs"), name)
        made = _make(path)
        try:
            _probe(path, room_bytes)
            run = cls(path)
            write_text(run.recipe_file, to_toml(recipe))
            write_json(run.record_file, {"name": name, "status": "running", "started": _now()})
        except BaseException:
            for entry in (cls(path).recipe_file, cls(path).record_file):
                entry.unlink(missing_ok=True)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """The run folder at `path`.

        Raises:
            RunError: there is none, or its record cannot be read.
        """
        path = Path(path)
        if not is_run(path):
            what = "no folder" if not path.exists() else "not a run folder (it has no run.json)"
            raise RunError(f"{path}: {what}; `kerasft runs list` shows the runs that there are")
        run = cls(path)
        run.record()
        return run

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def eval(self) -> Path:
        return self.path / "eval"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def recipe(self) -> Recipe:
        """The resolved recipe of this run.

        Raises:
            RunError: recipe.toml is missing or damaged.
            RecipeError: it holds settings that this version does not know.
        """
        try:
            settings = tomllib.loads(self.recipe_file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.recipe_file} cannot be read: {error}") from error
        return resolve(settings, where=str(self.recipe_file))

    def record(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            RunError: it cannot be read, or a newer kerasft wrote it.
        """
        return read_json(self.record_file)

    def check_room(self, room_bytes: int) -> None:
        """Before a run goes on: can its folder be written to, and is there room?

        Args:
            room_bytes: what the whole run takes; what the folder holds is counted in.

        Raises:
            RunError: no.
        """
        _probe(self.path, max(room_bytes - folder_bytes(self.path), _PROBE_BYTES))

    def update_run(self, **fields: Any) -> None:
        """Replace fields of run.json; the others stay.

        Raises:
            RunError: a field that `RECORD` does not list, a status that is none, or
                the file cannot be written.
        """
        unknown = sorted(fields.keys() - RECORD.keys())
        if unknown:
            raise RunError(f"run.json has no field {', '.join(unknown)}; see kerasft.runs.RECORD")
        if fields.get("status", "running") not in STATUSES:
            raise RunError(f"status {fields['status']!r} is not one of {', '.join(STATUSES)}")
        write_json(self.record_file, {**self.record(), **fields})

    def end(self, status: str, why: str = "", **fields: Any) -> None:
        """Record how the run ended, and when, with the last of its numbers."""
        self.update_run(status=status, why=why, finished=_now(), **fields)

    def append_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add one line for each optimizer step. Numbers that are not finite become null.

        Raises:
            RunError: the file cannot be written.
        """
        text = "".join(json.dumps(plain(line), allow_nan=False) + "\n" for line in lines)
        try:
            with self.metrics_file.open("ab+") as file:
                _drop_torn_line(file)
                file.write(text.encode())
        except OSError as error:
            raise RunError(cannot_write(self.metrics_file, error)) from error

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order; a last line cut by a kill is left out.

        Raises:
            RunError: another line is damaged; it is named.
        """
        try:
            text = self.metrics_file.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        complete = text[: text.rfind("\n") + 1]
        lines = []
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                lines.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{self.metrics_file}, line {number} is damaged: {error}") from error
        return lines

    def keep_metrics(self, last_step: int) -> None:
        """Drop the lines after a step: a resumed run does those steps again."""
        kept = [line for line in self.metrics() if line["step"] <= last_step]
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))


@dataclass(frozen=True)
class RunSummary:
    """One line of `kerasft runs list`.

    `status` is `actual_status`'s, or `damaged` where run.json cannot be read.
    """

    path: Path
    status: str
    why: str
    name: str
    backend: str
    started: str
    steps: int | None
    last_loss: float | None
    bytes: int


def actual_status(path: Path, record: Mapping[str, Any]) -> str:
    """The status that a record gives, `killed` where it says running and no process trains."""
    status = str(record.get("status", "damaged"))
    return "killed" if status == "running" and not is_locked(path) else status


def is_run(path: Path) -> bool:
    """Whether a folder is a run's: it has the record and the recipe."""
    return (path / "run.json").is_file() and (path / "recipe.toml").is_file()


def list_runs(root: Path) -> list[RunSummary]:
    """The runs directly below `root`, oldest first; none where there is no such folder."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    found = [_summary(path) for path in folders if is_run(path) and path.name[0] != "."]
    return sorted(found, key=lambda run: run.started)


def remove_run(path: Path, *, force: bool = False) -> int:
    """Delete a run folder and return its size in bytes.

    Raises:
        RunError: it is not a run folder, it is a link to one, it cannot be deleted,
            a process trains in it, or it was killed and `force` is not given.
    """
    if path.is_symlink():
        raise RunError(f"{path} is a link; give the folder that it points to")
    if not is_run(path):
        raise RunError(f"{path} is not a run folder; nothing was deleted")
    if is_locked(path):
        raise RunError(f"{path} is in use by {held_by(path)}; end it first")
    if _summary(path).status == "killed" and not force:
        raise RunError(
            f"{path} was killed while it was running: continue it with "
            f"`kerasft train --resume {path}`, or delete it with --force"
        )
    size = folder_bytes(path)
    # Renamed first: a deletion that is cut short leaves no folder that looks like a run.
    path = path.resolve()
    aside = path.with_name(f".{path.name}.removed")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise RunError(f"{path} cannot be deleted: {error.strerror}") from error
    return size


def _summary(path: Path) -> RunSummary:
    try:
        record = read_json(path / "run.json")
    except RunError as error:
        record = {"status": "damaged", "why": str(error)}
    return RunSummary(
        path=path,
        status=actual_status(path, record),
        why=str(record.get("why", "")),
        name=str(record.get("name", "")),
        backend=str(record.get("backend", "")),
        started=str(record.get("started", "")),
        steps=record.get("steps"),
        last_loss=record.get("last_loss"),
        bytes=folder_bytes(path),
    )


def _fresh(root: Path, name: str) -> Path:
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = root / stem, 1
    while path.exists():
        number += 1
        path = root / f"{stem}-{number}"
    return path


def _make(path: Path) -> list[Path]:
    """Make a folder and its parents; the ones that are new, innermost first."""
    if path.is_dir() and any(path.iterdir()):
        again = f"`kerasft train --resume {path}` continues it" if is_run(path) else "it stays"
        raise RunError(f"{path} is not empty, {again}; give another folder with --out")
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    return missing


def _probe(path: Path, room_bytes: int) -> None:
    free = shutil.disk_usage(path).free
    if free < room_bytes:
        raise RunError(
            f"{path} has {free / 1e6:,.0f} MB of free disk, and the run needs about "
            f"{room_bytes / 1e6:,.0f} MB: make room, or give another folder with --out"
        )
    # Free space says nothing about quotas and read-only mounts; a written file does.
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error


def _drop_torn_line(file: Any) -> None:
    """Cut a file back to its last complete line, so that the next one is not glued to a rest."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
