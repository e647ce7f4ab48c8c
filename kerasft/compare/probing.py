"""What the parity gate measures of one run, and where: NumPy alone.

The windows and the starting values of a run are functions of its recipe and seed, so that
they can be measured at any time after it. Two points are looked at:

- the start: A as it is drawn, B zero. Its logits are the base's, its gradient with respect to
  B is the first step's, and that with respect to A is zero whoever computes it.
- a second point, the same for every engine, so that the gradient of A says something: A as it
  is drawn, B from a seeded normal distribution of standard deviation `MOVED`.

Dropout is off at both: each engine draws its own.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kerasft.errors import RunError
from kerasft.records import cannot_write

MOVED = 0.05
"""Of B at the second point: it then changes a layer's output by some percent."""

POSITIONS = 64
"""Supervised positions of the first micro-batch whose logits are looked at."""

WORDS = 4096
"""Logits of a position that are kept as they are; all of them are in its logsumexp."""

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Fed:
    """A micro-batch as the model is given it, B rows of L tokens.

    Attributes:
        token_ids, position_ids: int (B, L).
        inputs: int (P,), flat indices into B·L of the tokens whose next one is supervised, in
            order.
        targets: int (P,), those next tokens.
    """

    token_ids: np.ndarray
    position_ids: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Measured:
    """One point: what a model gives for the first window of its run.

    Attributes:
        loss: token mean over the window, in nats.
        logits: float32 (n, vocabulary), of n flat positions of the first micro-batch.
        gradients: of that loss with respect to every A and B, by name.
    """

    loss: float
    logits: np.ndarray
    gradients: Mapping[str, np.ndarray]


class Side(Protocol):
    """A model with its adapter, as one engine trains it, and what it is fed."""

    fingerprint: str

    def windows(self) -> Iterable[Sequence[Fed]]:
        """The micro-batches of each window of the first epoch that is trained on."""

    def tensors(self) -> Mapping[str, np.ndarray]:
        """A and B, in kerasft's names and shapes, float32."""

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set every A and B."""

    def measure(self, positions: np.ndarray) -> Measured:
        """The point where A and B are now; `positions` as in `Measured`."""


@dataclass(frozen=True)
class Probe:
    """What was measured of one run.

    Attributes:
        key: of the run that it was measured on; see `kerasft.compare.probes.key_of`.
        engine, backend, dtype: of the run.
        base: the base's fingerprint.
        windows: how many are in `token_ids`.
        token_ids: hash of their token ids, positions and targets.
        shapes: of A and B, by name.
        starting: hashes of A and B at the start, by name.
        loss, moved_loss: at the two points.
        logits: float32 (n, words), of the base at the chosen positions: some words, the target
            and last the logsumexp.
        gradients: at the start, of every B; `moved_gradients` at the second point, of every A
            and B.
    """

    key: str
    engine: str
    backend: str
    dtype: str
    base: str
    windows: int
    token_ids: str
    shapes: Mapping[str, Sequence[int]]
    starting: Mapping[str, str]
    loss: float
    moved_loss: float
    logits: np.ndarray
    gradients: Mapping[str, np.ndarray]
    moved_gradients: Mapping[str, np.ndarray]

    @property
    def parameters(self) -> int:
        """How many values are trained."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def save(self, path: Path) -> None:
        """Write it as safetensors, with all but the arrays in its metadata; aside and renamed.

        Raises:
            RunError: it cannot be written.
        """
        values = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in ("logits", *_GRADIENTS)
        }
        head = json.dumps({"schema_version": SCHEMA_VERSION, **values})
        stored = {"logits": self.logits}
        for group in _GRADIENTS:
            stored |= {f"{group}/{name}": value for name, value in getattr(self, group).items()}
        stored = {name: np.ascontiguousarray(value) for name, value in stored.items()}
        aside = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(save(stored, {_HEAD: head}))
            aside.replace(path)
        except OSError as error:
            raise RunError(cannot_write(path, error)) from error
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "Probe":
        """What `save` wrote.

        Raises:
            RunError: it cannot be read, or another version wrote it.
        """
        try:
            with safe_open(path, framework="np") as stored:
                head = json.loads(stored.metadata()[_HEAD])
                if head.pop("schema_version") != SCHEMA_VERSION:
                    raise ValueError("another version wrote it")
                names = stored.keys()
                groups: dict[str, Any] = {
                    group: {
                        name.removeprefix(f"{group}/"): stored.get_tensor(name)
                        for name in names
                        if name.startswith(f"{group}/")
                    }
                    for group in _GRADIENTS
                }
                return cls(**head, logits=stored.get_tensor("logits"), **groups)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise RunError(f"{path} is no probe of this kerasft: {error}") from error


_GRADIENTS = ("gradients", "moved_gradients")
_HEAD = "probe"


def measure(side: Side, **of_run: str) -> Probe:
    """Measure both points of a side.

    Args:
        of_run: `key`, `engine`, `backend` and `dtype`.

    Raises:
        RunError: it is fed nothing.
    """
    digest, count, first = hashlib.sha256(), 0, None
    for micro_batches in side.windows():
        for fed in micro_batches:
            first = fed if first is None else first
            add_to(digest, fed)
        count += 1
    if first is None:
        raise RunError("the run has no window to look at")
    chosen = spread_out(len(first.inputs))
    positions, targets = first.inputs[chosen], first.targets[chosen]
    start = side.tensors()
    at_start = side.measure(positions)
    side.assign(moved(start))
    at_second = side.measure(positions)
    return Probe(
        **of_run,
        base=side.fingerprint,
        windows=count,
        token_ids=digest.hexdigest(),
        shapes={name: list(value.shape) for name, value in start.items()},
        starting={name: tensor_hash(value) for name, value in start.items()},
        loss=at_start.loss,
        moved_loss=at_second.loss,
        logits=some_logits(at_start.logits, targets),
        gradients={
            name: value for name, value in at_start.gradients.items() if name.endswith("/b")
        },
        moved_gradients=dict(at_second.gradients),
    )


def add_to(digest: Any, fed: Fed) -> None:
    """Take a micro-batch into a hash: the same for the same values, whatever integers hold them."""
    for array in (fed.token_ids, fed.position_ids, fed.inputs, fed.targets):
        digest.update(repr(tuple(array.shape)).encode())
        digest.update(np.ascontiguousarray(array, "<i4").tobytes())


def tensor_hash(value: np.ndarray) -> str:
    """Of shape and float32 values."""
    digest = hashlib.sha256(repr(tuple(value.shape)).encode())
    digest.update(np.ascontiguousarray(value, "<f4").tobytes())
    return digest.hexdigest()


def spread_out(count: int, most: int = POSITIONS) -> np.ndarray:
    """Indices of at most `most` of `count` things, spread evenly: packed rows are all seen."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def moved(start: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The second point: A as it is, B drawn for its name; whatever engine asks."""
    found = {}
    for name, value in start.items():
        if name.endswith("/b"):
            random = np.random.default_rng(zlib.crc32(name.encode()))
            value = (MOVED * random.standard_normal(value.shape)).astype(np.float32)
        found[name] = value
    return found


def some_logits(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of (n, vocabulary): some words spread over it, the targets and the logsumexp, float32."""
    logits = logits.astype(np.float64)
    largest = logits.max(axis=1, keepdims=True)
    norms = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    words = logits[:, spread_out(logits.shape[1], WORDS)]
    at_target = np.take_along_axis(logits, targets[:, None].astype(np.int64), axis=1)
    return np.concatenate([words, at_target, norms], axis=1).astype(np.float32)
