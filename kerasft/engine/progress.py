"""Where a run is, and what a person should look at in it; a checkpoint carries both."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Progress:
    """Where a run is; everything in it goes into a checkpoint.

    Attributes:
        step: optimizer steps done.
        epoch, window: the next window: its epoch, and its index there.
        tokens, supervised_tokens: seen so far, padding left out.
        seconds: spent in steps.
        input_seconds: of these, spent waiting for the next window.
        best_loss, best_step: the lowest validation loss and where it was.
        worse: validations since then.
        validation_owed: whether a validation of this step was broken off.
        skipped_in_a_row: updates left out since the last one that was made.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    input_seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0
    validation_owed: bool = False
    skipped_in_a_row: int = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Incidents:
    """Steps that a person should look at; a checkpoint has them, and run.json in the end.

    Attributes:
        spikes: `step`, `loss`, `median` (of the losses before) and `rows` of each.
        skipped: `step`, `loss`, `gradient_norm` and `rows` of each update left out.
    """

    spikes: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        return asdict(self)
