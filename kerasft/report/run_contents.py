"""What lies in a run folder, read for its report. What is missing or damaged is told, not fatal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.errors import KerasftError, RunError
from kerasft.export.card_facts import hub_base, public_name, public_recipe
from kerasft.export.card_licences import Licence, licence_of
from kerasft.recipe import Recipe
from kerasft.records import read_json
from kerasft.report.answers import Answered, chosen
from kerasft.runs import RunFolder, actual_status


@dataclass(frozen=True)
class Evaluation:
    """One of the run's evaluations.

    Attributes:
        name: of its files.
        result: as `kerasft.evaluation` wrote it.
        examples: some of its answers.
    """

    name: str
    result: Mapping[str, Any]
    examples: Sequence[Answered]


@dataclass(frozen=True)
class RunContents:
    """A run, as far as it can be read.

    Attributes:
        name: of its folder.
        status: see `kerasft.runs.actual_status`.
        record: run.json.
        recipe: without folders of the machine; None where it cannot be read.
        lines: of metrics.jsonl, those whose loss is a number.
        evaluations: the one with the most rows first.
        licence: of the base; None where the run came to no adapter, which names the family.
        faults: what could not be read, a sentence each.
    """

    name: str
    status: str
    record: Mapping[str, Any]
    recipe: Recipe | None
    lines: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Evaluation]
    licence: Licence | None
    faults: Sequence[str]

    @property
    def validations(self) -> list[Mapping[str, float]]:
        """`step`, `loss` and `accuracy` of each; step 0 is before training."""
        found = (self.record.get("validation") or {}).get("all") or []
        return [each for each in found if each.get("loss") is not None]


def read_run(run: RunFolder) -> RunContents:
    """Read a run folder.

    Raises:
        RunError: its record cannot be read.
    """
    record, faults = run.record(), []
    try:
        recipe = public_recipe(run.recipe())
    except KerasftError as error:
        recipe = None
        faults.append(str(error))
    try:
        lines = run.metrics()
    except RunError as error:
        lines = []
        faults.append(str(error))
    return RunContents(
        name=run.path.resolve().name,
        status=actual_status(run.path, record),
        record=record,
        recipe=recipe,
        lines=[line for line in lines if line.get("loss") is not None],
        evaluations=_evaluations(run.eval, faults),
        licence=_licence(run, record),
        faults=faults,
    )


def _evaluations(folder: Path, faults: list[str]) -> list[Evaluation]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = read_json(path)
        except RunError as error:
            faults.append(str(error))
            continue
        predictions = path.with_suffix(".predictions.jsonl")
        examples: list[Answered] = []
        try:
            examples = chosen(str(result["task"]), predictions)
        except FileNotFoundError:
            faults.append(f"{path.stem}: its answers are not there ({predictions.name})")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            faults.append(f"{path.stem}: its answers cannot be read ({predictions.name})")
        found.append(Evaluation(path.stem, result, examples))
    return sorted(found, key=lambda each: -(each.result.get("rows") or 0))


def _licence(run: RunFolder, record: Mapping[str, Any]) -> Licence | None:
    try:
        adapter = json.loads((run.adapter / "adapter.json").read_text("utf-8"))
        family = str(adapter["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    base = record.get("base") or {}
    preset, base_id = str(base.get("preset", "")), str(base.get("id", ""))
    names = f"{hub_base(preset)} {public_name(preset)} {public_name(base_id)}"
    return licence_of(family, names, {})
