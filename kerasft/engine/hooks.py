"""What a training loop calls between steps, and what may be asked of its model.

The names are those of Keras' callbacks, of which `kerasft.engine.callbacks` makes one out of
each `Hooks`; the loops of `kerasft.hf` call them as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class Hooks:
    """Called by a training loop; does nothing of itself."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None: ...

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None: ...

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None: ...


class Tuner(Protocol):
    """A model in training, as the hooks see it.

    Attributes:
        latest: metrics of the newest step that were read back.
        input_seconds: how long steps have waited for their windows.
        stop_training: whether the loop should end after this step.
    """

    latest: dict[str, float]
    input_seconds: float
    stop_training: bool

    def flush(self) -> None:
        """Read the waiting metrics back from the device."""

    def drain(self) -> list[dict[str, float]]:
        """The metrics that were read back since the last call, oldest first."""

    def sync(self) -> None:
        """Bring the state to where it is read from."""

    def validate(self, windows: Iterable[Any]) -> dict[str, float]:
        """`loss` (nats a supervised token), `accuracy` and `supervised_tokens` of windows."""
