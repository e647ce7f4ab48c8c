"""An adapter as PEFT has it: A (rank, in) and B (out, rank) for each weight (out, in).

The `peft` layout is that, transposed. In the `keras` layout query, key and value have
one A a head and one B that the heads share. As one matrix over all heads that is

    ΔW = scale · [B]ᵀ … [A₁ … Aₙ]ᵀ, with one copy of Bᵀ (head width, rank) a head on the
    diagonal of B' (heads · head width, heads · rank) and the heads' Aᵀ below each other
    in A' (heads · rank, in),

so its rank is heads · rank and nothing is rounded: values are copied. The output
projection and the feed-forward layers keep their rank, as their last axis is the whole
output.

`shared` gives one rank to all by the best approximation in the Frobenius norm (Eckart
and Young 1936), through QR of both factors, so that no matrix of the weight's size is
decomposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kerasft.models.families import TensorSpec
    from kerasft.recipe import LoraSettings

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank` (its `MaxLoRARanks`; 1 is one too, for nothing)."""


@dataclass(frozen=True)
class Factors:
    """Two factors of a change of a weight (out, in): B·A, without the scale.

    Attributes:
        a: (rank, in) float32.
        b: (out, rank) float32.
    """

    a: np.ndarray
    b: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Loss:
    """What a truncation left out, in squares of the Frobenius norm of B·A.

    Attributes:
        lost: of the part that was left out.
        whole: of the whole.
    """

    lost: float
    whole: float

    @property
    def relative(self) -> float:
        """‖what was left out‖ / ‖the whole‖."""
        return float(np.sqrt(self.lost / self.whole)) if self.whole else 0.0


def overall(losses: Iterable[Loss]) -> float:
    """The relative error of all changes together."""
    losses = list(losses)
    return Loss(sum(loss.lost for loss in losses), sum(loss.whole for loss in losses)).relative


def factors_of(
    spec: TensorSpec,
    tensors: Mapping[str, np.ndarray],
    settings: LoraSettings,
    share_rank: int | None = None,
) -> tuple[Factors, Loss] | None:
    """What PEFT's files hold of a kernel's adapter, before it is rounded to their type.

    Args:
        spec: of the kernel.
        tensors: `PATH/a` and `PATH/b`, float32.
        settings: of the adapter.
        share_rank: a rank for every kernel, or None for the exact one.

    Returns:
        The factors and what they left out, or None where the kernel has no adapter.
    """
    path = spec.name.removesuffix("kernel")
    if f"{path}a" not in tensors:
        return None
    factors = unfolded(spec, tensors[f"{path}a"], tensors[f"{path}b"], settings.layout)
    return shared(factors, share_rank or factors.rank)


def unfolded(spec: TensorSpec, a: np.ndarray, b: np.ndarray, layout: str) -> Factors:
    """PEFT's factors of a kernel's A and B; the product is the same.

    Args:
        spec: of the kernel.
        a, b: float32, as the layout has them (`kerasft.models.deltas`).
        layout: `keras` or `peft`.
    """
    if layout == "peft":
        return Factors(a.T, b.T)
    last = len(spec.shape) - 1
    outputs, inputs = _halves(spec)
    heads = [axis for axis in outputs if axis != last]
    rank = b.shape[0]
    # A's axes are the kernel's with the rank in the place of the last one.
    stacked = a.transpose([*heads, last, *inputs]).reshape(-1, spec.hf_shape[1])
    return Factors(stacked, np.kron(np.eye(len(stacked) // rank, dtype=b.dtype), b.T))


def shared(factors: Factors, rank: int) -> tuple[Factors, Loss]:
    """Factors of another rank: the nearest ones to the product, and how near they are.

    A higher rank is filled up with zeros, which is exact.

    Args:
        factors: of any rank.
        rank: that the result has.
    """
    missing = rank - factors.rank
    if missing >= 0:
        a = np.pad(factors.a, ((0, missing), (0, 0)))
        return Factors(a, np.pad(factors.b, ((0, 0), (0, missing)))), Loss(0.0, _whole(factors))
    # In double precision, so that the cut between two near singular values is the same
    # on another machine.
    left, upper = np.linalg.qr(factors.b.astype(np.float64))
    right, lower = np.linalg.qr(factors.a.T.astype(np.float64))
    u, sizes, v = np.linalg.svd(upper @ lower.T, full_matrices=False)
    roots = np.sqrt(sizes[:rank])
    a = (v[:rank].T * roots).T @ right.T
    b = left @ (u[:, :rank] * roots)
    squares = sizes**2
    nearest = Factors(a.astype(np.float32), b.astype(np.float32))
    nearest, _ = shared(nearest, rank)  # a thin core has fewer singular values than that
    return nearest, Loss(float(squares[rank:].sum()), float(squares.sum()))


def vllm_rank(rank: int) -> int | None:
    """The least `--max-lora-rank` that holds a rank; None above vLLM's largest."""
    return next((allowed for allowed in VLLM_RANKS if rank <= allowed), None)


def _whole(factors: Factors) -> float:
    """‖B·A‖², from products of the size of the rank."""
    a, b = factors.a.astype(np.float64), factors.b.astype(np.float64)
    return float(np.sum((b.T @ b) * (a @ a.T)))


def _halves(spec: TensorSpec) -> tuple[list[int], list[int]]:
    """The kernel's axes that make the rows and the columns of its Hugging Face matrix.

    In every family the last axis of a kernel is the innermost one of the rows.
    """
    cut = spec.axes.index(len(spec.shape) - 1) + 1
    return list(spec.axes[:cut]), list(spec.axes[cut:])
