"""What `kerasft.trainer` asks of an engine: a base with an adapter on it, and its loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from kerasft.data.batching import Window, WindowSource
    from kerasft.data.tokens import Tokenizer
    from kerasft.engine.device import Device
    from kerasft.engine.hooks import Hooks, Tuner
    from kerasft.engine.progress import Progress
    from kerasft.models.families import Family


class Base(Protocol):
    """The facts of a loaded base that a run records; see `kerasft.models.sources.BaseModel`."""

    family: "Family"
    config: dict[str, Any]
    tokenizer: "Tokenizer"
    base_id: str
    fingerprint: str
    licence: str
    licence_page: str


class TrainedTuner(Protocol):
    """A `Tuner` whose state a checkpoint holds.

    Attributes:
        compilations: (what, seconds) of each call that compiled something.
    """

    compilations: list[tuple[str, float]]

    def training_state(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds beside the adapter."""

    def restore_training_state(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Put `training_state` back.

        Raises:
            RunError: it does not fit; all faults at once.
        """


class Learner(Protocol):
    """An engine's part of a run.

    Attributes:
        engine: `keras`, `hf` or `trl`.
        base: with its facts.
        tuner: what the hooks of the loop read, and a checkpoint.
        dtype: of the base.
        device: where it trains.
        parameters: how many are trained.
        remat: whether blocks are computed again in the backward pass.
        resumable: whether its runs have checkpoints.
        packages: those that take part beside `kerasft.versions.PACKAGES`.
    """

    engine: str
    base: Base
    tuner: "Tuner | TrainedTuner"
    dtype: str
    device: "Device"
    parameters: int
    remat: bool
    resumable: bool
    packages: tuple[str, ...]

    def tensors(self) -> dict[str, np.ndarray]:
        """A and B by layer path: `PATH/a` and `PATH/b`, float32."""

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set every A and B.

        Raises:
            AdapterError: they do not fit.
        """

    def read(self, window: "Window") -> Any:
        """What the tuner takes of a window."""

    def answer(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations, without the prompt and the stop token."""

    def train(
        self,
        windows: "WindowSource",
        progress: "Progress",
        last_step: int,
        hooks: Sequence["Hooks | Any"],
        stop_asked: Callable[[], bool],
    ) -> None:
        """Train from where `progress` is, which a hook advances.

        Args:
            windows: of the run.
            progress: see `kerasft.engine.metrics_log.MetricsLog`.
            last_step: optimizer steps of the whole run.
            hooks: called between steps, in this order; Keras callbacks among them where the
                engine takes them.
            stop_asked: whether to end after this step.
        """
