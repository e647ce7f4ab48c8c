"""What may change between a checkpoint and its resumption, and what may not."""

from collections.abc import Mapping
from typing import Any

from kerasft.recipe import Recipe, fields

MAY_CHANGE = frozenset(
    {
        "description",
        "model.preset",
        "data.source",
        "data.schemas",
        "data.revision",
        "train.epochs",
        "train.max_steps",
        "train.time_budget",
        "train.checkpoint_every",
        "train.checkpoint_minutes",
        "train.keep_checkpoints",
        "train.on_bad_step",
        "train.validate_every",
        "train.patience",
        "train.remat",
        "train.compile",
        "train.deterministic",
        "train.tensorboard",
        "eval.limit",
        "eval.max_new_tokens",
        "eval.batch_size",
    }
)
"""Settings that a resumed run may have other values of. Where the base and the rows lie may
change, because the fingerprint of the one and the hash of the others are compared."""


def flat(recipe: Recipe) -> dict[str, Any]:
    """Every setting by its dotted path, None where it is not given."""
    values = recipe.model_dump()

    def value(path: str) -> Any:
        found: Any = values
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return {path: value(path) for path, *_ in fields()}


def refused(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ and may not, each in words.

    Args:
        old: as `flat` gave it when the checkpoint was written. A setting that it lacks is
            newer than the checkpoint and is not compared.
        new: as it gives it now.
    """
    return [
        _said(path, old[path], new[path])
        for path in new
        if path in old and old[path] != new[path] and path not in MAY_CHANGE
    ]


def accepted(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ and may, each in words."""
    return [
        _said(path, old[path], new[path])
        for path in new
        if path in old and old[path] != new[path] and path in MAY_CHANGE
    ]


def schedule_note(schedule: str, old_steps: int, new_steps: int) -> str | None:
    """Where the schedule ends now, where that is another step than before."""
    if old_steps == new_steps:
        return None
    return (
        f"the run now ends with step {new_steps:,}, it was {old_steps:,}; from here on the "
        f"learning rate is that of the {schedule} schedule over {new_steps:,} steps"
    )


def identity_faults(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What of rows, tokens and template is not what it was."""
    return [_said(key, old.get(key), value) for key, value in new.items() if old.get(key) != value]


def surroundings_note(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """What of libraries and machine differs, and what that means; None where nothing does.

    Args:
        old, new: `versions` (a mapping), `backend`, `dtype` and `device`.
    """
    versions = old.get("versions", {}), new.get("versions", {})
    changed = [
        f"{name} {versions[0].get(name, 'none')} → {versions[1].get(name, 'none')}"
        for name in sorted({*versions[0], *versions[1]})
        if versions[0].get(name) != versions[1].get(name)
    ]
    changed += [
        f"{name} {old[name]} → {new[name]}"
        for name in ("backend", "device", "dtype")
        if name in old and old[name] != new.get(name)
    ]
    if not changed:
        return None
    return (
        f"other than at the checkpoint: {', '.join(changed)}. The run goes on with the same "
        "rows, masks and rates, but its sums are rounded differently: not bit for bit"
    )


def _said(path: str, old: Any, new: Any) -> str:
    return f"{path} was {_value(old)}, it is {_value(new)}"


def _value(value: Any) -> str:
    return "not set" if value is None else repr(value)
