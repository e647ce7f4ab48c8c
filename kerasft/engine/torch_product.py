"""Matrix products by the fastest algorithm that cuBLASLt has for their shape, on torch.

torch takes the algorithm that the heuristic of cuBLAS estimates to be fastest. The estimate
is often wrong: on an H100, 4096×2048 by 2048×16384 in bfloat16 took 0.45 ms by it and
0.40 ms by a later one of the same list, under sustained load. XLA therefore times the
candidates and keeps the fastest; so does this module, once for each shape, layout and type,
and remembers the choice in kerasft's cache. Without cuBLASLt (on a CPU, say) they are torch's own.

All candidates accumulate in float32. Two processes that time them may choose differently,
and then round differently; the cache holds a machine to its first choice.
"""

import functools
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kerasft.caches import cache_dir
from kerasft.engine.cublaslt import (
    ALIGNMENT,
    TYPES,
    Case,
    CublasLt,
    Descriptors,
    case_of,
    loaded_library,
)
from kerasft.errors import RunError
from kerasft.records import read_json, write_json

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_ROUNDS = 3
_ROUND_MS = 6.0
"""Of one candidate: long enough that a card at its limit of power lowers its clocks, as
it will in training. In rounds of 1.6 ms the order of the candidates was another one."""
_TIE = 0.02
_WORTH_TIMING = 2**31
"""Multiplications; smaller products are not timed."""


def fastest(milliseconds: Mapping[bytes | None, Sequence[float]]) -> bytes | None:
    """The algorithm of the least median; None, torch's own, also where it ties."""
    medians = {name: statistics.median(times) for name, times in milliseconds.items()}
    best = min(medians, key=medians.__getitem__)
    return None if medians[None] <= medians[best] * (1 + _TIE) else best


def read_table(path: Path, environment: str) -> dict[str, bytes | None]:
    """The algorithms kept for a device and library; empty where they cannot be read."""
    try:
        kept = read_json(path).get(environment, {})
    except RunError:
        return {}
    table = {}
    for key, name in kept.items() if isinstance(kept, dict) else ():
        if name is None:
            table[key] = None
        elif isinstance(name, str) and re.fullmatch("[0-9a-f]{128}", name):
            table[key] = bytes.fromhex(name)
    return table


def write_table(path: Path, environment: str, table: Mapping[str, bytes | None]) -> None:
    """Add algorithms to those on the disk. A cache that cannot be written is none."""
    try:
        content = read_json(path)
    except RunError:
        content = {}
    merged = {**read_table(path, environment), **table}
    content[environment] = {key: name and name.hex() for key, name in sorted(merged.items())}
    with suppress(RunError):
        write_json(path, content)


class Products:
    """The products of one device, each by the algorithm chosen for its case."""

    def __init__(self, library: CublasLt, environment: str, path: Path) -> None:
        self._library = library
        self._environment = environment
        self._path = path
        self._table = read_table(path, environment)
        self._ready: dict[Case, tuple[Descriptors, bytes | None]] = {}

    def multiply(
        self, x: torch.Tensor, matrix: torch.Tensor, total: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x · matrix (+ total); torch's own where nothing is chosen."""
        case = case_of(x, matrix, accumulates=total is not None)
        if total is not None:
            whole = total.shape == (len(x), matrix.shape[1]) and total.is_contiguous()
            case = case if whole and total.dtype == x.dtype else None
        if case is not None and _aligned(x, matrix, *([] if total is None else [total])):
            descriptors, algorithm = self._chosen(case, x, matrix)
            if algorithm is not None:
                out = x.new_empty(case.rows, case.columns)
                if self._library.run(descriptors, algorithm, x, matrix, out, total):
                    return out
        return torch.mm(x, matrix) if total is None else torch.addmm(total, x, matrix)

    def _chosen(
        self, case: Case, x: torch.Tensor, matrix: torch.Tensor
    ) -> tuple[Descriptors | None, bytes | None]:
        if case not in self._ready:
            if torch.cuda.is_current_stream_capturing():  # the clock cannot be read there
                return None, None
            self._ready[case] = self._choose(case, x, matrix)
        return self._ready[case]

    def _choose(
        self, case: Case, x: torch.Tensor, matrix: torch.Tensor
    ) -> tuple[Descriptors, bytes | None]:
        descriptors = self._library.descriptors(case)
        if case.rows * case.inner * case.columns < _WORTH_TIMING:
            # torch adds in two passes more, because it copies the total first.
            first = self._library.candidates(descriptors)[:1] if case.accumulates else []
            return descriptors, first[0] if first else None
        kept = self._table.get(case.key)
        if case.key in self._table and (kept is None or self._library.supports(descriptors, kept)):
            return descriptors, kept
        try:
            algorithm = self._timed(case, descriptors, x, matrix)
        except torch.OutOfMemoryError:  # of what is tried only: the product may well fit
            return descriptors, None
        self._table[case.key] = algorithm
        write_table(self._path, self._environment, {case.key: algorithm})
        return descriptors, algorithm

    @torch.no_grad()
    def _timed(
        self, case: Case, descriptors: Descriptors, x: torch.Tensor, matrix: torch.Tensor
    ) -> bytes | None:
        """The fastest algorithm by the clock of the device.

        The matrix is the one that is asked for: it is not written, and may be too large for
        a second one. x is random, because a first batch may hold zeros, which are multiplied
        at higher clocks, and the program's random state is not touched.
        """
        generator = torch.Generator(x.device).manual_seed(0)
        x = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
        x.normal_(generator=generator)
        out = x.new_empty(case.rows, case.columns)
        total = x.new_zeros(case.rows, case.columns) if case.accumulates else None

        def run(algorithm: bytes | None) -> bool:
            if algorithm is not None:
                return self._library.run(descriptors, algorithm, x, matrix, out, total)
            if total is None:
                torch.mm(x, matrix, out=out)
            else:
                torch.addmm(total, x, matrix, out=out)
            return True

        contenders = [None, *self._library.candidates(descriptors)]
        contenders = [algorithm for algorithm in contenders if run(algorithm)]
        once = _milliseconds(lambda: run(None), 1)
        repeats = max(1, min(100, int(_ROUND_MS / max(once, 1e-3))))
        times: dict[bytes | None, list[float]] = {algorithm: [] for algorithm in contenders}
        for _ in range(_ROUNDS):
            for algorithm, found in times.items():
                found.append(_milliseconds(functools.partial(run, algorithm), repeats))
        return fastest(times)


def _aligned(*tensors: torch.Tensor) -> bool:
    return all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in tensors)


def _milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """Of one run, by events on the current stream."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(repeats):
        run()
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / repeats


@functools.cache
def products_of(device: torch.device) -> Products | None:
    """The products of a device with its index; None where there is no cuBLASLt."""
    library = loaded_library() if device.type == "cuda" else None
    if library is None:
        return None
    properties = torch.cuda.get_device_properties(device)
    with torch.cuda.device(device):
        try:
            cublaslt = CublasLt(library, device)
        except RuntimeError:
            return None
    name = f"{properties.name}, {properties.multi_processor_count} multiprocessors"
    environment = f"{name}, cuBLASLt {cublaslt.version}"
    return Products(cublaslt, environment, cache_dir() / "products.json")


def _multiply(
    x: torch.Tensor, matrix: torch.Tensor, total: torch.Tensor | None = None
) -> torch.Tensor:
    products = products_of(x.device)
    if products is None:
        return torch.mm(x, matrix) if total is None else torch.addmm(total, x, matrix)
    with torch.cuda.device(x.device):
        return products.multiply(x, matrix, total)


@torch.library.custom_op("kerasft::product", mutates_args=())
def product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x (rows, inner) · matrix (inner, columns), which is frozen and has no gradient."""
    return _multiply(x, matrix)


@torch.library.custom_op("kerasft::product_added", mutates_args=())
def product_added(total: torch.Tensor, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """total (rows, columns) + x (rows, inner) · matrix (inner, columns)."""
    return _multiply(x, matrix, total)


@torch.library.custom_op("kerasft::trained_product", mutates_args=())
def trained_product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """As `product`, for a matrix that has a gradient."""
    return _multiply(x, matrix)


def _product_shape(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], matrix.shape[1])


product.register_fake(_product_shape)
trained_product.register_fake(_product_shape)
product_added.register_fake(lambda total, x, matrix: _product_shape(x, matrix))


def _keep(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[-2:])


def _keep_matrix(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _frozen_gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    (matrix,) = ctx.saved_tensors
    return product(gradient, matrix.t()), None


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x, matrix = ctx.saved_tensors
    return product(gradient, matrix.t()), torch.mm(x.t(), gradient)


def _added_gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return gradient, *_gradients(ctx, gradient)


product.register_autograd(_frozen_gradients, setup_context=_keep_matrix)
trained_product.register_autograd(_gradients, setup_context=_keep)
product_added.register_autograd(_added_gradients, setup_context=_keep)


@dataclass(frozen=True)
class Multiplier:
    """How matrices are multiplied on a device.

    Attributes:
        product: of x and a frozen matrix.
        trained: of x and a matrix that has a gradient.
        added: of total, x and a matrix that has a gradient: total + x · matrix.
    """

    product: Product
    trained: Product
    added: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


PLAIN = Multiplier(torch.mm, torch.mm, torch.addmm)
"""torch's own products."""


def choose_multiplier(device: torch.device, dtype: torch.dtype) -> Multiplier:
    """The products of a device: our operators or, without cuBLASLt, torch's own."""
    if device.type != "cuda" or dtype not in TYPES:
        return PLAIN
    index = torch.cuda.current_device() if device.index is None else device.index
    if products_of(torch.device("cuda", index)) is None:
        return PLAIN
    operators = torch.ops.kerasft
    return Multiplier(
        operators.product.default,
        operators.trained_product.default,
        operators.product_added.default,
    )
