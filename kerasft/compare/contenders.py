"""Which runs belong together, and which may be held against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerasft.resuming import flat
from kerasft.runs import RunFolder

OWN = frozenset({"description", "train.seed"})
"""Settings in which runs of one comparison may differ."""

LAYOUT = "lora.layout"


@dataclass(frozen=True)
class Entrant:
    """A run with what is asked of it again and again.

    Attributes:
        run, record: the folder and its run.json.
        settings: of its recipe, by dotted path.
        label: keras-torch, keras-jax, hf, trl.
    """

    run: RunFolder
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    label: str

    @classmethod
    def of(cls, run: RunFolder, label: str | None = None) -> "Entrant":
        """Read a run folder.

        Args:
            label: where it is known: a run that failed early does not tell its engine.

        Raises:
            KerasftError: its record or its recipe cannot be read.
        """
        record = run.record()
        engine = str(record.get("engine") or "keras")
        told = f"keras-{record.get('backend')}" if engine == "keras" else engine
        return cls(run, record, flat(run.recipe()), label or told)

    @property
    def seed(self) -> int:
        return int(self.settings["train.seed"])

    @property
    def finished(self) -> bool:
        return self.record.get("status") == "finished"

    @property
    def device(self) -> str:
        """In words; empty where the run ended before it saw one."""
        device = self.record.get("device") or {}
        return " ".join(str(device[name]) for name in ("kind", "name") if device.get(name))

    @property
    def shared(self) -> dict[str, Any]:
        """The settings that runs of one comparison have in common."""
        return {path: value for path, value in self.settings.items() if path not in OWN}


@dataclass
class Group:
    """Runs of one contender, by seed.

    Attributes:
        name: that it is shown by.
        entrants: by seed, in order.
        missing: seeds that left no run folder, and why.
    """

    name: str
    entrants: dict[int, Entrant]
    missing: dict[int, str] = field(default_factory=dict)

    @property
    def first(self) -> Entrant | None:
        return next(iter(self.entrants.values()), None)

    @property
    def finished(self) -> bool:
        """Whether every run of it is there and finished."""
        done = all(entrant.finished for entrant in self.entrants.values())
        return bool(self.entrants) and not self.missing and done


def grouped(entrants: Sequence[Entrant]) -> list[Group]:
    """Runs of the same engine, backend and settings together, in the order of their first.

    A group is named by its engine; where two groups have the same engine, by its layout too,
    or else by its first run.
    """
    groups: list[list[Entrant]] = []
    for entrant in entrants:
        home = next((group for group in groups if _belongs(entrant, group)), None)
        if home is None:
            groups.append([entrant])
        else:
            home.append(entrant)
    named = []
    for group in groups:
        alike = [each for each in groups if each[0].label == group[0].label]
        layouts = [each[0].settings[LAYOUT] for each in alike]
        if len(alike) == 1:
            name = group[0].label
        elif len(set(layouts)) == len(alike):
            name = f"{group[0].label} ({group[0].settings[LAYOUT]} layout)"
        else:
            name = group[0].run.path.resolve().name
        while name in {each.name for each in named}:
            name += "'"
        by_seed = {entrant.seed: entrant for entrant in group}
        named.append(Group(name, dict(sorted(by_seed.items()))))
    return named


def _belongs(entrant: Entrant, group: Sequence[Entrant]) -> bool:
    return all(
        entrant.label == each.label
        and entrant.seed != each.seed
        and entrant.shared == each.shared
        # A run that failed early has neither.
        and _agree(entrant.device, each.device)
        and _agree(entrant.record.get("dtype"), each.record.get("dtype"))
        for each in group
    )


def _agree(a: str | None, b: str | None) -> bool:
    return not a or not b or a == b


def reference_of(groups: Sequence[Group]) -> Group:
    """What the others are held against: the first whose runs are all finished, else the first."""
    return next((group for group in groups if group.finished), groups[0])


def setting_differences(reference: Group, group: Group) -> list[str]:
    """Settings, device, type and rows in which a contender's runs differ from the reference's."""
    ours, theirs = reference.first, group.first
    if ours is None or theirs is None or group is reference:
        return []
    different = [
        path
        for path, value in ours.shared.items()
        if path in theirs.shared and value != theirs.shared[path]
    ]
    found = [
        f"{path} is {_said(theirs.shared[path])}, {reference.name} has {_said(ours.shared[path])}"
        for path in different
    ]
    if ours.device and theirs.device and ours.device != theirs.device:
        found.append(f"trained on {theirs.device}, {reference.name} on {ours.device}")
    types = ours.record.get("dtype"), theirs.record.get("dtype")
    if all(types) and types[0] != types[1] and "model.dtype" not in different:
        found.append(
            f"the base is in {types[1]}, that of {reference.name} in {types[0]}; "
            "--set model.dtype=… says which"
        )
    rows = [(each.record.get("data") or {}).get("content_hash") for each in (ours, theirs)]
    if all(rows) and rows[0] != rows[1]:
        found.append(f"its rows are not those of {reference.name}")
    return found


def version_differences(reference: Group, group: Group) -> list[str]:
    """Packages of another version than the reference's; they are told and change no ranking."""
    if reference.first is None or group.first is None:
        return []
    ours, theirs = (each.first.record.get("versions") or {} for each in (reference, group))
    return [
        f"{name} {theirs[name]}, {reference.name} has {ours[name]}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]


def unfinished(group: Group) -> list[str]:
    """Why a contender's numbers are not those of whole runs."""
    found = [f"seed {seed} did not run: {why}" for seed, why in group.missing.items()]
    for seed, entrant in group.entrants.items():
        if not entrant.finished:
            why = entrant.record.get("why")
            status = entrant.record.get("status")
            found.append(f"seed {seed} is not finished ({status}{f': {why}' if why else ''})")
    return found


def interrupted(group: Group) -> list[str]:
    """Runs whose numbers are of more than one process."""
    return [
        f"{group.name}, seed {seed}, was begun {attempts} times: its time to the first step and "
        "its peak memory are those of the last time, and its training time has all compiling"
        for seed, entrant in group.entrants.items()
        if (attempts := entrant.record.get("attempts") or 1) > 1
    ]


def seed_differences(reference: Group, group: Group) -> list[str]:
    """Whether a contender has other seeds than the reference."""
    ours, theirs = ({*each.entrants, *each.missing} for each in (reference, group))
    if ours == theirs:
        return []
    seeds = [", ".join(map(str, sorted(each))) for each in (theirs, ours)]
    return [f"its seeds are {seeds[0]}, {reference.name} has {seeds[1]}"]


def _said(value: Any) -> str:
    return "not set" if value is None else repr(value)
