"""The part of cuBLASLt that `torch_product` needs: products by an algorithm of one's choice.

Called by ctypes in the library that torch has loaded already. Functions, constants and
structures: NVIDIA's cuBLAS documentation, "Using the cuBLASLt API"
(https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api), and cublasLt.h.
"""

import ctypes
import re
from contextlib import suppress
from ctypes import c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import torch

TYPES = {torch.bfloat16: 14, torch.float16: 2}
"""CUDA_R_16BF and CUDA_R_16F."""
ALIGNMENT = 256
"""Bytes, of every matrix; the heuristic takes it for granted."""

Layout = tuple[int, int, int]
"""Rows, columns and leading dimension, column-major."""

_CANDIDATES = 16
_WORKSPACE = 32 * 2**20
"""Bytes; what NVIDIA recommends for Hopper."""
_CUDA_R_32F = 0
_CUBLAS_COMPUTE_32F = 68
_DESC_TRANSA, _DESC_TRANSB = 3, 4
_PREF_MAX_WORKSPACE_BYTES, _PREF_REDUCTION_SCHEME_MASK = 1, 3
_REDUCTION_SCHEME_COMPUTE_TYPE = 2
"""Parts of a split inner dimension are kept and summed in float32."""


class _Result(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", ctypes.c_float),
        ("reserved", c_int * 4),
    )


_SIGNATURES = {
    "cublasLtCreate": (c_void_p,),
    "cublasLtMatmulPreferenceCreate": (c_void_p,),
    "cublasLtMatmulPreferenceSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatmulDescCreate": (c_void_p, c_int, c_int),
    "cublasLtMatmulDescSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatrixLayoutCreate": (c_void_p, c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatmulAlgoGetHeuristic": (*(c_void_p,) * 7, c_int, c_void_p, c_void_p),
    "cublasLtMatmulAlgoCheck": (c_void_p,) * 8,
    "cublasLtMatmul": (*(c_void_p,) * 14, c_size_t, c_void_p),
}


Descriptors = tuple[c_void_p, c_void_p, c_void_p, c_void_p]
"""The operation, A, B and D."""


class Case(NamedTuple):
    """(rows, inner) · (inner, columns), with all that cuBLASLt distinguishes products by.

    A stride is the distance of the rows, or of the columns of a transposed operand.
    """

    rows: int
    inner: int
    columns: int
    x_transposed: bool
    x_stride: int
    matrix_transposed: bool
    matrix_stride: int
    dtype: torch.dtype
    accumulates: bool

    @property
    def key(self) -> str:
        """The name in the table on the disk."""
        x = f"{'T' if self.x_transposed else 'N'}{self.x_stride}"
        matrix = f"{'T' if self.matrix_transposed else 'N'}{self.matrix_stride}"
        shape = f"{self.rows}x{self.inner}x{self.columns}"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{shape} {x} {matrix} {dtype}" + (" accumulated" if self.accumulates else "")


def case_of(x: torch.Tensor, matrix: torch.Tensor, *, accumulates: bool = False) -> Case | None:
    """The case of two tensors; None where it is no product of 16-bit matrices by strides."""
    if x.dim() != 2 or matrix.dim() != 2 or x.shape[1] != matrix.shape[0]:
        return None
    if x.dtype not in TYPES or matrix.dtype != x.dtype or not x.numel() or not matrix.numel():
        return None
    first, second = _layout(x), _layout(matrix)
    if first is None or second is None:
        return None
    return Case(*x.shape, matrix.shape[1], *first, *second, x.dtype, accumulates)


def _layout(tensor: torch.Tensor) -> tuple[bool, int] | None:
    """Whether a matrix is transposed, and the distance of its rows or columns."""
    rows, columns = tensor.shape
    if tensor.stride(1) == 1 and tensor.stride(0) >= columns:
        return False, tensor.stride(0)
    if tensor.stride(0) == 1 and tensor.stride(1) >= rows:
        return True, tensor.stride(1)
    return None


def layouts(case: Case) -> tuple[Layout, Layout, Layout]:
    """A, B and D of D = op(A) · op(B), column-major as cuBLASLt wants them.

    Memory that holds a matrix by rows holds its transpose by columns. So A is the
    matrix, B is x and D' = matrix' · x': op transposes what was transposed already.
    """
    a = (case.columns, case.inner) if not case.matrix_transposed else (case.inner, case.columns)
    b = (case.inner, case.rows) if not case.x_transposed else (case.rows, case.inner)
    return (
        (*a, case.matrix_stride),
        (*b, case.x_stride),
        (case.columns, case.rows, case.columns),
    )


class CublasLt:
    """A handle of the library on the current device, and its workspace.

    Products run on one stream at a time: they share the workspace, which never moves, so
    that a CUDA graph may hold its address.

    Raises:
        RuntimeError: the library refuses, or lacks a function.
    """

    def __init__(self, library: Any, device: torch.device) -> None:
        self._library = library
        for name, arguments in _SIGNATURES.items():
            if not hasattr(library, name):
                raise RuntimeError(f"cuBLASLt has no {name}")
            getattr(library, name).argtypes = arguments
        library.cublasLtGetVersion.restype = c_size_t
        self.version: int = library.cublasLtGetVersion()
        self._handle = self._created("cublasLtCreate")
        self._preference = self._created("cublasLtMatmulPreferenceCreate")
        for attribute, value in (
            (_PREF_MAX_WORKSPACE_BYTES, c_uint64(_WORKSPACE)),
            (_PREF_REDUCTION_SCHEME_MASK, c_uint32(_REDUCTION_SCHEME_COMPUTE_TYPE)),
        ):
            self._set("cublasLtMatmulPreferenceSetAttribute", self._preference, attribute, value)
        self._workspace = torch.empty(_WORKSPACE, dtype=torch.uint8, device=device)

    def descriptors(self, case: Case) -> Descriptors:
        """Those of a case; they live as long as the process."""
        operation = self._created("cublasLtMatmulDescCreate", _CUBLAS_COMPUTE_32F, _CUDA_R_32F)
        for attribute, transposed in (
            (_DESC_TRANSA, case.matrix_transposed),
            (_DESC_TRANSB, case.x_transposed),
        ):
            value = c_int(transposed)
            self._set("cublasLtMatmulDescSetAttribute", operation, attribute, value)
        kind = TYPES[case.dtype]
        a, b, d = (
            self._created("cublasLtMatrixLayoutCreate", kind, *layout) for layout in layouts(case)
        )
        return operation, a, b, d

    def candidates(self, descriptors: Descriptors) -> list[bytes]:
        """Algorithms as the heuristic orders them; none where it knows none."""
        results, count = (_Result * _CANDIDATES)(), c_int()
        operation, a, b, d = descriptors
        self._library.cublasLtMatmulAlgoGetHeuristic(
            self._handle,
            *(operation, a, b, d, d, self._preference),
            *(_CANDIDATES, results, ctypes.byref(count)),
        )
        return [bytes(result.algorithm) for result in results[: count.value] if not result.status]

    def supports(self, descriptors: Descriptors, algorithm: bytes) -> bool:
        """Whether an algorithm that was kept is one for a case."""
        operation, a, b, d = descriptors
        result = _Result()
        status = self._library.cublasLtMatmulAlgoCheck(
            self._handle, operation, a, b, d, d, algorithm, ctypes.byref(result)
        )
        return status == 0 and result.workspace <= _WORKSPACE

    def run(
        self,
        descriptors: Descriptors,
        algorithm: bytes,
        x: torch.Tensor,
        matrix: torch.Tensor,
        out: torch.Tensor,
        total: torch.Tensor | None = None,
    ) -> bool:
        """Queue out = x · matrix (+ total) on the current stream; whether it was accepted."""
        operation, a, b, d = descriptors
        alpha, beta = ctypes.c_float(1.0), ctypes.c_float(0.0 if total is None else 1.0)
        added = out if total is None else total
        return not self._library.cublasLtMatmul(
            *(self._handle, operation, ctypes.byref(alpha)),
            *(matrix.data_ptr(), a, x.data_ptr(), b, ctypes.byref(beta)),
            *(added.data_ptr(), d, out.data_ptr(), d),
            *(algorithm, self._workspace.data_ptr(), _WORKSPACE),
            torch.cuda.current_stream().cuda_stream,
        )

    def _created(self, function: str, *arguments: int) -> c_void_p:
        made = c_void_p()
        self._check(function, getattr(self._library, function)(ctypes.byref(made), *arguments))
        return made

    def _set(self, function: str, target: c_void_p, attribute: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        status = getattr(self._library, function)(target, attribute, ctypes.byref(value), size)
        self._check(function, status)

    def _check(self, function: str, status: int) -> None:
        if status:
            raise RuntimeError(f"{function} gave status {status}")


def loaded_library() -> Any:
    """The cuBLASLt that is in this process already; None where there is none."""
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text("utf-8")
        if found := re.search(r"/.*libcublasLt\.so\S*", maps):
            return ctypes.CDLL(found[0])
    return None
