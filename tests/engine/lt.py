"""A stand-in for cuBLASLt that multiplies on the CPU, from the same pointers and layouts."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import torch

from kerasft.engine.cublaslt import TYPES

_DTYPES = {number: dtype for dtype, number in TYPES.items()}


class StandIn:
    """Three algorithms: 1 and 2 work, 3 is offered and then refused.

    Attributes:
        ran: the first byte of each algorithm in the order of the calls.
    """

    def __init__(self) -> None:
        self.ran: list[int] = []
        self._made: list[Any] = []
        # Functions of the instance: those of a class take no attributes.
        for name in dir(type(self)):
            if name.startswith("cublasLt"):
                setattr(self, name, self._function(getattr(self, name)))

    @classmethod
    def on_the_cpu(cls, monkeypatch: Any) -> StandIn:
        stream = SimpleNamespace(cuda_stream=0)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        return cls()

    @staticmethod
    def _function(method: Any) -> Any:
        return lambda *arguments: method(*arguments)

    def _make(self, made: Any, what: Any) -> int:
        self._made.append(what)
        made._obj.value = len(self._made)
        return 0

    def _get(self, handle: ctypes.c_void_p) -> Any:
        return self._made[handle.value - 1]

    def cublasLtGetVersion(self) -> int:
        return 130000

    def cublasLtCreate(self, made: Any) -> int:
        return self._make(made, "handle")

    def cublasLtMatmulPreferenceCreate(self, made: Any) -> int:
        return self._make(made, {})

    def cublasLtMatmulDescCreate(self, made: Any, compute: int, scale: int) -> int:
        assert (compute, scale) == (68, 0)
        return self._make(made, {})

    def cublasLtMatrixLayoutCreate(self, made: Any, *layout: int) -> int:
        return self._make(made, layout)

    def cublasLtMatmulPreferenceSetAttribute(
        self, target: Any, attribute: int, value: Any, size: int
    ) -> int:
        assert size == {1: 8, 3: 4}[attribute]
        self._get(target)[attribute] = value._obj.value
        return 0

    def cublasLtMatmulDescSetAttribute(
        self, target: Any, attribute: int, value: Any, size: int
    ) -> int:
        assert attribute in (3, 4) and size == 4
        self._get(target)[attribute] = value._obj.value
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, handle: Any, *rest: Any) -> int:
        *_, preference, wanted, results, count = rest
        assert self._get(preference) == {1: 32 * 2**20, 3: 2} and wanted == len(results)
        for index in range(4):
            results[index].algorithm[0] = index + 1
            results[index].status = 15 if index == 3 else 0
        count._obj.value = 4
        return 0

    def cublasLtMatmulAlgoCheck(self, handle: Any, *rest: Any) -> int:
        *_, algorithm, _ = rest
        return 0 if algorithm[0] in (1, 2, 3) else 7

    def cublasLtMatmul(self, handle: Any, operation: Any, alpha: Any, *rest: Any) -> int:
        first, a, second, b, beta, added, c, out, d, algorithm, *_ = rest
        self.ran.append(algorithm[0])
        if algorithm[0] == 3:
            return 15
        transposed = self._get(operation)
        left, right = self._read(first, a), self._read(second, b)
        left = left.t() if transposed[3] else left
        right = right.t() if transposed[4] else right
        result = alpha._obj.value * (left.float() @ right.float())
        assert (added == out) == (not beta._obj.value), "a total is read, never written"
        if beta._obj.value:
            result += beta._obj.value * self._read(added, c).float()
        self._read(out, d).copy_(result)
        return 0

    def _read(self, pointer: int, handle: Any) -> torch.Tensor:
        """The memory at a pointer as its layout says, column-major."""
        number, rows, columns, leading = self._get(handle)
        assert leading >= rows
        values = (columns - 1) * leading + rows
        memory = (ctypes.c_char * (2 * values)).from_address(pointer)
        flat = torch.frombuffer(memory, dtype=_DTYPES[number])
        return flat.as_strided((rows, columns), (1, leading))
