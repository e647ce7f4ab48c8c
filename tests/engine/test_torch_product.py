"""The choice of an algorithm, its table, and the operator."""

from __future__ import annotations

import json

import pytest
import torch

from kerasft.engine import torch_product
from kerasft.engine.cublaslt import CublasLt, case_of
from kerasft.engine.torch_product import (
    Products,
    choose_product,
    fastest,
    product,
    read_table,
    write_table,
)
from tests.engine.lt import StandIn

SLOW, FAST = bytes([1] + [0] * 63), bytes([2] + [0] * 63)
KEY = "8x16x32 N16 N32 bfloat16"


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    """Bfloat16 x (8, 16) and a matrix (16, 32), aligned as a GPU's allocations are."""
    return aligned(8, 16), aligned(16, 32)


def aligned(rows: int, columns: int) -> torch.Tensor:
    room = torch.empty(rows * columns + 128, dtype=torch.bfloat16)
    start = -room.data_ptr() % 256 // 2
    return room[start : start + rows * columns].view(rows, columns).normal_()


class Timed:
    """Products on the stand-in, with a clock that says what each algorithm takes."""

    def __init__(self, monkeypatch, path, environment="a GPU, cuBLASLt 1", **milliseconds):
        self.library = StandIn.on_the_cpu(monkeypatch)
        self.clock = {1: 2.0, 2: 1.0, "torch": 3.0, **milliseconds}
        monkeypatch.setattr(torch_product, "_milliseconds", self._read)
        self.products = Products(CublasLt(self.library, torch.device("cpu")), environment, path)
        self.timings = 0

    def _read(self, run, repeats):
        self.timings += 1
        before = len(self.library.ran)
        run()
        return self.clock[self.library.ran[-1] if len(self.library.ran) > before else "torch"]


def test_the_least_median_wins_and_torch_wins_ties():
    assert fastest({None: [2.0, 2.0, 9.0], SLOW: [1.9, 1.5, 1.9], FAST: [1.8, 1.8, 1.0]}) == FAST
    assert fastest({None: [1.0, 1.0, 1.0], FAST: [0.995] * 3}) is None
    assert fastest({None: [1.0, 1.0, 1.0], FAST: [0.98] * 3}) == FAST
    assert fastest({None: [1.0]}) is None


def test_a_table_comes_back(tmp_path):
    path = tmp_path / "cache" / "products.json"
    assert read_table(path, "one") == {}
    write_table(path, "one", {"a": bytes(range(64)), "b": None})
    write_table(path, "one", {"c": FAST})
    write_table(path, "two", {"a": SLOW})
    assert read_table(path, "one") == {"a": bytes(range(64)), "b": None, "c": FAST}
    assert read_table(path, "two") == {"a": SLOW}
    assert read_table(path, "three") == {}


@pytest.mark.parametrize("kept", ["zz" * 64, "00" * 63, 7, ["00"]])
def test_an_algorithm_that_is_damaged_is_forgotten(tmp_path, kept):
    path = tmp_path / "products.json"
    path.write_text(json.dumps({"schema_version": 1, "one": {"a": kept, "b": None}}))
    assert read_table(path, "one") == {"b": None}
    path.write_text("{")
    assert read_table(path, "one") == {}


def test_a_table_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    write_table(tmp_path / "file" / "products.json", "one", {"a": FAST})


def test_the_fastest_candidate_is_kept_and_used(tmp_path, monkeypatch):
    path = tmp_path / "products.json"
    timed = Timed(monkeypatch, path)
    x, matrix = operands()
    found = timed.products.multiply(x, matrix)
    torch.testing.assert_close(found, torch.mm(x, matrix), atol=2**-5, rtol=2**-6)
    assert timed.library.ran[-1] == 2
    assert read_table(path, "a GPU, cuBLASLt 1") == {KEY: FAST}
    count = timed.timings
    timed.products.multiply(x, matrix)
    assert timed.timings == count and timed.library.ran[-1] == 2
    # Algorithm 3 is refused at the first try and is not timed.
    assert timed.library.ran.count(3) == 1
    again = Timed(monkeypatch, path)
    again.products.multiply(x, matrix)
    assert again.timings == 0 and again.library.ran == [2]


def test_another_library_times_again(tmp_path, monkeypatch):
    x, matrix = operands()
    Timed(monkeypatch, tmp_path / "p.json").products.multiply(x, matrix)
    other = Timed(monkeypatch, tmp_path / "p.json", "a GPU, cuBLASLt 2")
    other.products.multiply(x, matrix)
    assert other.timings > 0


def test_an_algorithm_that_the_library_refuses_is_timed_again(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    write_table(path, "a GPU, cuBLASLt 1", {KEY: bytes(64)})
    timed = Timed(monkeypatch, path)
    timed.products.multiply(*operands())
    assert timed.timings > 0 and read_table(path, "a GPU, cuBLASLt 1") == {KEY: FAST}


def test_torch_stays_where_it_is_fastest(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json", torch=1.0)
    x, matrix = operands()
    timed.products.multiply(x, matrix)
    ran = len(timed.library.ran)
    assert torch.equal(timed.products.multiply(x, matrix), torch.mm(x, matrix))
    assert len(timed.library.ran) == ran
    assert read_table(tmp_path / "p.json", "a GPU, cuBLASLt 1") == {KEY: None}


def test_sums_are_added_in_place(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")
    x, matrix = operands()
    total = aligned(8, 32)
    expected = torch.addmm(total, x, matrix)
    assert timed.products.multiply(x, matrix, total) is total
    torch.testing.assert_close(total, expected, atol=2**-4, rtol=2**-6)
    assert timed.library.ran[-1] == 2


def test_nothing_is_timed_in_a_recording(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")
    x, matrix = operands()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert torch.equal(timed.products.multiply(x, matrix), torch.mm(x, matrix))
    assert timed.timings == 0 and timed.library.ran == []


def test_memory_that_is_not_aligned_goes_to_torch(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")
    x, matrix = operands()
    timed.products.multiply(x[1:], matrix)
    assert timed.library.ran == []


def test_the_random_state_stays(tmp_path, monkeypatch):
    x, matrix = operands()
    before = torch.get_rng_state()
    Timed(monkeypatch, tmp_path / "p.json").products.multiply(x, matrix)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_choice_without_a_gpu_is_that_of_torch(monkeypatch):
    assert choose_product(torch.device("cpu"), torch.bfloat16) is torch.mm
    assert choose_product(torch.device("cuda", 0), torch.float32) is torch.mm
    monkeypatch.setattr(torch_product, "loaded_library", lambda: None)
    torch_product.products_of.cache_clear()
    assert choose_product(torch.device("cuda", 0), torch.bfloat16) is torch.mm
    torch_product.products_of.cache_clear()


def test_the_operator_is_sound():
    x = torch.randn(4, 6, requires_grad=True)
    torch.library.opcheck(product, (x, torch.randn(6, 5)))
    torch.library.opcheck(product, (x, torch.randn(5, 6).t()))


def _two(x, first, second):
    """As a block does: the second product reads a matrix by columns."""
    return torch.ops.kerasft.product.default(
        torch.tanh(torch.ops.kerasft.product.default(x, first)), second.t()
    )


def test_gradients_are_those_of_torch():
    x, first, second = torch.randn(4, 6), torch.randn(6, 5), torch.randn(7, 5)
    x.requires_grad_()
    (found,) = torch.autograd.grad(_two(x, first, second).square().sum(), x)
    plain = torch.tanh(x @ first) @ second.t()
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_the_compiler_takes_it_and_copies_no_matrix():
    from torch._inductor.utils import run_and_get_code

    x, first, second = torch.randn(4, 6), torch.randn(6, 5), torch.randn(7, 5)
    x.requires_grad_()
    compiled = torch.compile(_two, fullgraph=True)

    def step():
        return torch.autograd.grad(compiled(x, first, second).square().sum(), x)[0]

    found, codes = run_and_get_code(step)
    plain = torch.tanh(x @ first) @ second.t()
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    torch.testing.assert_close(found, expected)
    code = "\n".join(codes)
    assert code.count("torch.ops.kerasft.product.default(") == 4
    assert "reinterpret_tensor" in code and "copy_" not in code


@pytest.mark.gpu
@pytest.mark.parametrize("form", ["NN", "NT", "TN"])
@pytest.mark.parametrize("accumulates", [False, True])
def test_on_a_gpu_it_is_the_product_of_torch(form, accumulates, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no NVIDIA GPU")
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path))
    torch_product.products_of.cache_clear()
    options = {"device": "cuda", "dtype": torch.bfloat16}
    x, matrix = torch.randn(512, 640, **options), torch.randn(640, 2048, **options)
    x = x.t().contiguous().t() if form[0] == "T" else x
    matrix = matrix.t().contiguous().t() if form[1] == "T" else matrix
    assert choose_product(x.device, x.dtype) is torch.ops.kerasft.product.default
    products = torch_product.products_of(x.device)
    total = torch.randn(512, 2048, **options) if accumulates else None
    expected = x.float() @ matrix.float() + (total.float() if accumulates else 0)
    found = products.multiply(x, matrix, total)
    torch.testing.assert_close(found.float(), expected, atol=0.3, rtol=2**-7)
    key = case_of(x, matrix, accumulates=accumulates).key
    assert key in (tmp_path / "products.json").read_text("utf-8")
    torch_product.products_of.cache_clear()
