"""Products through cuBLASLt's interface, by a stand-in that reads memory as it does."""

from __future__ import annotations

import pytest
import torch

from kerasft.engine import cublaslt
from kerasft.engine.cublaslt import CublasLt, case_of, layouts
from tests.engine.lt import StandIn


def operands(form: str, dtype: torch.dtype = torch.bfloat16) -> tuple[torch.Tensor, torch.Tensor]:
    """x (6, 16) and a matrix (16, 24), each by rows (N) or by columns (T)."""
    x, matrix = (torch.randn(shape).to(dtype) for shape in ((6, 16), (16, 24)))
    if form[0] == "T":
        x = x.t().contiguous().t()
    if form[1] == "T":
        matrix = matrix.t().contiguous().t()
    return x, matrix


@pytest.mark.parametrize("form", ["NN", "NT", "TN", "TT"])
def test_layouts_read_the_memory_by_columns(form):
    x, matrix = operands(form)
    case = case_of(x, matrix)
    assert (case.x_transposed, case.matrix_transposed) == (form[0] == "T", form[1] == "T")
    a, b, d = layouts(case)
    for tensor, (rows, columns, leading), transposed in (
        (matrix, a, case.matrix_transposed),
        (x, b, case.x_transposed),
    ):
        read = torch.as_strided(tensor, (rows, columns), (1, leading))
        assert torch.equal(read.t() if transposed else read, tensor.t())
    assert d == (24, 6, 24)


def test_a_part_of_a_matrix_keeps_the_stride_of_the_whole():
    x, matrix = operands("NN")
    case = case_of(x[:, :8], matrix[:8, 4:12])
    assert (case.rows, case.inner, case.columns) == (6, 8, 8)
    assert (case.x_stride, case.matrix_stride) == (16, 24)


def test_what_is_no_product_of_16_bit_matrices_has_no_case():
    x, matrix = operands("NN")
    assert case_of(x, matrix.t()) is None
    assert case_of(x[0], matrix) is None
    assert case_of(x[:0], matrix) is None
    assert case_of(x.float(), matrix.float()) is None
    assert case_of(x.half(), matrix) is None
    assert case_of(x[:, ::2], matrix[:8]) is None
    assert case_of(x[:1].expand(6, 16), matrix) is None


def test_keys_tell_cases_apart():
    keys = {
        case_of(*operands(form, dtype), accumulates=accumulates).key
        for form in ("NN", "NT", "TN", "TT")
        for dtype in (torch.bfloat16, torch.float16)
        for accumulates in (False, True)
    }
    assert len(keys) == 16
    assert case_of(*operands("NT")).key == "6x16x24 N16 T16 bfloat16"


@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("form", ["NN", "NT", "TN", "TT"])
def test_the_product_is_that_of_torch(form, accumulates, monkeypatch):
    library = CublasLt(StandIn.on_the_cpu(monkeypatch), torch.device("cpu"))
    x, matrix = operands(form)
    descriptors = library.descriptors(case_of(x, matrix, accumulates=accumulates))
    fast = library.candidates(descriptors)[0]
    total = torch.randn(6, 24).to(x.dtype) if accumulates else None
    before = total.clone() if accumulates else 0
    # Whatever the result's memory held before is no part of the result.
    out = torch.full((6, 24), torch.nan, dtype=x.dtype)
    assert library.run(descriptors, fast, x, matrix, out, total)
    torch.testing.assert_close(
        out.float(), x.float() @ matrix.float() + before, atol=2**-6, rtol=2**-7
    )
    assert total is None or torch.equal(total, before)


def test_an_algorithm_that_the_library_refuses_leaves_the_result(monkeypatch):
    library = CublasLt(StandIn.on_the_cpu(monkeypatch), torch.device("cpu"))
    x, matrix = operands("NN")
    descriptors = library.descriptors(case_of(x, matrix))
    refused = library.candidates(descriptors)[2]
    out = torch.ones(6, 24, dtype=x.dtype)
    assert not library.run(descriptors, refused, x, matrix, out)
    assert torch.equal(out, torch.ones_like(out))


def test_algorithms_are_64_bytes_that_the_library_knows_again(monkeypatch):
    library = CublasLt(StandIn.on_the_cpu(monkeypatch), torch.device("cpu"))
    descriptors = library.descriptors(case_of(*operands("NN")))
    found = library.candidates(descriptors)
    assert len(found) == 3 and all(len(algorithm) == 64 for algorithm in found)
    assert all(library.supports(descriptors, algorithm) for algorithm in found)
    assert not library.supports(descriptors, bytes(64))


def test_a_library_without_the_functions_is_refused():
    with pytest.raises(RuntimeError, match="cublasLtCreate"):
        CublasLt(object(), torch.device("cpu"))


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has loaded cuBLASLt")
def test_there_is_none_without_cuda():
    assert cublaslt.loaded_library() is None
