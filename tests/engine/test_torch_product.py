"""The choice of an algorithm, its table, the operators, and the gradients of products."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from kerasft.engine import torch_product
from kerasft.engine.cublaslt import CublasLt, case_of
from kerasft.engine.torch_product import (
    PLAIN,
    Multiplier,
    Products,
    choose_multiplier,
    fastest,
    product,
    product_added,
    read_table,
    trained_product,
    write_table,
)
from tests.engine.lt import StandIn

SLOW, FAST = bytes([1] + [0] * 63), bytes([2] + [0] * 63)
KEY = "8x16x32 N16 N32 bfloat16"
GPU = "a GPU, cuBLASLt 1"


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    """Bfloat16 x (8, 16) and a matrix (16, 32), aligned as a GPU's allocations are."""
    return aligned(8, 16), aligned(16, 32)


def aligned(rows: int, columns: int) -> torch.Tensor:
    room = torch.empty(rows * columns + 128, dtype=torch.bfloat16)
    start = -room.data_ptr() % 256 // 2
    return room[start : start + rows * columns].view(rows, columns).normal_()


class Timed:
    """Products on the stand-in, with a clock that says what each algorithm takes.

    Attributes:
        timings: how often the clock was read.
    """

    def __init__(self, monkeypatch, path, environment=GPU, worth=0, **milliseconds):
        monkeypatch.setattr(torch_product, "_WORTH_TIMING", worth)
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
    assert fastest({None: [1.0, 1.0, 1.0], FAST: [0.985] * 3}) is None
    assert fastest({None: [1.0, 1.0, 1.0], FAST: [0.975] * 3}) == FAST
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
    assert read_table(path, GPU) == {KEY: FAST}
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
    write_table(path, GPU, {KEY: bytes(64)})
    timed = Timed(monkeypatch, path)
    timed.products.multiply(*operands())
    assert timed.timings > 0 and read_table(path, GPU) == {KEY: FAST}


def test_torch_stays_where_it_is_fastest(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json", torch=1.0)
    x, matrix = operands()
    timed.products.multiply(x, matrix)
    ran = len(timed.library.ran)
    assert torch.equal(timed.products.multiply(x, matrix), torch.mm(x, matrix))
    assert len(timed.library.ran) == ran
    assert read_table(tmp_path / "p.json", GPU) == {KEY: None}


def test_a_total_is_added_into_a_new_tensor(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")
    x, matrix = operands()
    total = aligned(8, 32)
    before = total.clone()
    for _ in range(2):  # timed first, then chosen
        found = timed.products.multiply(x, matrix, total)
        expected = torch.addmm(before, x, matrix)
        torch.testing.assert_close(found, expected, atol=2**-4, rtol=2**-6)
        assert found.data_ptr() != total.data_ptr() and torch.equal(total, before)
        assert timed.library.ran[-1] == 2
    assert read_table(tmp_path / "p.json", GPU) == {f"{KEY} accumulated": FAST}


def test_small_products_are_those_of_torch_untimed(tmp_path, monkeypatch):
    x, matrix = operands()
    small = Timed(monkeypatch, tmp_path / "p.json", worth=8 * 16 * 32 + 1)
    assert torch.equal(small.products.multiply(x, matrix), torch.mm(x, matrix))
    assert small.timings == 0 and small.library.ran == []
    assert read_table(tmp_path / "p.json", GPU) == {}
    large = Timed(monkeypatch, tmp_path / "p.json", worth=8 * 16 * 32)
    large.products.multiply(x, matrix)
    assert large.timings > 0


def test_a_total_is_added_to_small_products_by_the_first_candidate(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json", worth=2**31)
    (x, matrix), total = operands(), aligned(8, 32)
    found = timed.products.multiply(x, matrix, total)
    torch.testing.assert_close(found, torch.addmm(total, x, matrix), atol=2**-4, rtol=2**-6)
    assert timed.timings == 0 and timed.library.ran == [1]
    assert read_table(tmp_path / "p.json", GPU) == {}


@pytest.mark.parametrize("offered", [[], [bytes([3] + [0] * 63)]], ids=["none", "refused"])
def test_torch_adds_where_the_library_cannot(offered, tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json", worth=2**31)
    monkeypatch.setattr(CublasLt, "candidates", lambda self, descriptors: offered)
    (x, matrix), total = operands(), aligned(8, 32)
    found = timed.products.multiply(x, matrix, total)
    assert torch.equal(found, torch.addmm(total, x, matrix))


def test_what_cannot_be_timed_for_memory_is_left_to_torch(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")

    def out_of_memory(run, repeats):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch_product, "_milliseconds", out_of_memory)
    x, matrix = operands()
    assert torch.equal(timed.products.multiply(x, matrix), torch.mm(x, matrix))
    assert read_table(tmp_path / "p.json", GPU) == {}


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


def test_totals_of_another_layout_go_to_torch(tmp_path, monkeypatch):
    timed = Timed(monkeypatch, tmp_path / "p.json")
    x, matrix = operands()
    for total in (
        aligned(9, 32)[1:].t().contiguous().t(),  # by columns
        aligned(8, 64)[:, :32],  # a part of its rows
        aligned(9, 33).flatten()[1:257].view(8, 32),  # not aligned
    ):
        expected = torch.addmm(total, x, matrix)
        assert torch.equal(timed.products.multiply(x, matrix, total), expected)
    assert timed.library.ran == []


def test_the_random_state_stays(tmp_path, monkeypatch):
    x, matrix = operands()
    before = torch.get_rng_state()
    Timed(monkeypatch, tmp_path / "p.json").products.multiply(x, matrix)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_choice_without_a_gpu_is_that_of_torch(monkeypatch):
    assert Multiplier(torch.mm, torch.mm, torch.addmm) == PLAIN
    assert choose_multiplier(torch.device("cpu"), torch.bfloat16) is PLAIN
    assert choose_multiplier(torch.device("cuda", 0), torch.float32) is PLAIN
    monkeypatch.setattr(torch_product, "loaded_library", lambda: None)
    torch_product.products_of.cache_clear()
    assert choose_multiplier(torch.device("cuda", 0), torch.bfloat16) is PLAIN
    torch_product.products_of.cache_clear()


OPERATORS = Multiplier(
    torch.ops.kerasft.product.default,
    torch.ops.kerasft.trained_product.default,
    torch.ops.kerasft.product_added.default,
)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_operators_are_sound(transposed):
    total, x = torch.randn(4, 5), torch.randn(4, 6)
    frozen = torch.randn(5, 6).t() if transposed else torch.randn(6, 5)
    matrix = frozen.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    total.requires_grad_()
    x.requires_grad_()
    torch.library.opcheck(product, (x, frozen))
    torch.library.opcheck(trained_product, (x, matrix))
    torch.library.opcheck(product_added, (total, x, matrix))
    for found, expected, wanted in (
        (product(x, frozen), torch.mm(x, frozen), [x]),
        (trained_product(x, matrix), torch.mm(x, matrix), [x, matrix]),
        (product_added(total, x, matrix), torch.addmm(total, x, matrix), [total, x, matrix]),
    ):
        torch.testing.assert_close(found, expected)
        gradient = torch.randn(4, 5)
        torch.testing.assert_close(
            torch.autograd.grad(found, wanted, gradient),
            torch.autograd.grad(expected, wanted, gradient),
        )


def adapted_operands(**options) -> list[torch.Tensor]:
    """x, the frozen matrices of two products, and a and b of the first one's adapter."""
    shapes = (64, 48), (48, 40), (56, 40), (48, 8), (8, 40)
    x, first, second, a, b = (torch.randn(shape, **options) / shape[1] ** 0.5 for shape in shapes)
    return [x.requires_grad_(), first, second, a.requires_grad_(), b.requires_grad_()]


def _block(multiplier, x, first, second, a, b):
    """As a block does: an adapted product, and a frozen one that reads by columns."""
    y = multiplier.added(multiplier.product(x, first), multiplier.trained(x, a), b)
    return multiplier.product(torch.tanh(y), second.t())


def _plain_block(x, first, second, a, b):
    return torch.tanh(torch.addmm(x @ first, x @ a, b)) @ second.t()


def _gradients(block, operands):
    wanted = [operand for operand in operands if operand.requires_grad]
    return torch.autograd.grad(block(*operands).square().sum(), wanted)


@pytest.mark.parametrize("multiplier", [PLAIN, OPERATORS], ids=["plain", "operators"])
def test_values_and_gradients_are_those_of_torch(multiplier):
    operands = adapted_operands()
    block = functools.partial(_block, multiplier)
    torch.testing.assert_close(block(*operands), _plain_block(*operands))
    found, expected = _gradients(block, operands), _gradients(_plain_block, operands)
    assert len(found) == 3
    torch.testing.assert_close(found, expected)


def test_an_input_without_a_gradient_trains_the_adapter():
    operands = adapted_operands()
    operands[0] = operands[0].detach()
    block = functools.partial(_block, OPERATORS)
    found, expected = _gradients(block, operands), _gradients(_plain_block, operands)
    torch.testing.assert_close(found, expected)


def kept_by(call) -> set[int]:
    """Addresses of what `call` keeps for its gradients."""
    kept = set()

    def pack(tensor):
        kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return kept


def test_x_is_kept_only_where_a_matrix_is_trained():
    x, first, _, a, _ = adapted_operands()
    total = torch.randn(64, 8, requires_grad=True)
    assert kept_by(lambda: product(x, first)) == {first.data_ptr()}
    both = {x.data_ptr(), a.data_ptr()}
    assert kept_by(lambda: trained_product(x, a)) == both
    assert kept_by(lambda: product_added(total, x, a)) == both


@pytest.mark.slow
def test_the_compiler_takes_them_and_copies_no_matrix():
    from torch._inductor.utils import run_and_get_code

    operands = adapted_operands()
    compiled = torch.compile(functools.partial(_block, OPERATORS), fullgraph=True)
    found, codes = run_and_get_code(lambda: _gradients(compiled, operands))
    torch.testing.assert_close(found, _gradients(_plain_block, operands))
    code = "\n".join(codes)
    # Forward the two frozen matrices; backward these, b and a.
    assert code.count("torch.ops.kerasft.product.default(") == 6
    assert code.count("torch.ops.kerasft.trained_product.default(") == 1
    assert code.count("torch.ops.kerasft.product_added.default(") == 1
    assert "reinterpret_tensor" in code and "copy_" not in code


@pytest.fixture
def gpu_products(tmp_path, monkeypatch):
    """The products of the GPU with an empty table, and the table's path."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no NVIDIA GPU")
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path))
    torch_product.products_of.cache_clear()
    device = torch.device("cuda", torch.cuda.current_device())
    yield torch_product.products_of(device), tmp_path / "products.json"
    torch_product.products_of.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [512, 2048], ids=["untimed", "timed"])
@pytest.mark.parametrize("form", ["NN", "NT", "TN"])
@pytest.mark.parametrize("accumulates", [False, True])
def test_on_a_gpu_it_is_the_product_of_torch(rows, form, accumulates, gpu_products):
    products, table = gpu_products
    options = {"device": "cuda", "dtype": torch.bfloat16}
    x, matrix = torch.randn(rows, 640, **options), torch.randn(640, 2048, **options)
    x = x.t().contiguous().t() if form[0] == "T" else x
    matrix = matrix.t().contiguous().t() if form[1] == "T" else matrix
    total = torch.randn(rows, 2048, **options) if accumulates else None
    expected = x.float() @ matrix.float() + (total.float() if accumulates else 0)
    before = total.clone() if accumulates else None
    found = products.multiply(x, matrix, total)
    torch.testing.assert_close(found.float(), expected, atol=0.3, rtol=2**-7)
    assert total is None or torch.equal(total, before)
    key = case_of(x, matrix, accumulates=accumulates).key
    kept = key in table.read_text("utf-8") if table.exists() else False
    assert kept == (rows * 640 * 2048 >= torch_product._WORTH_TIMING)


@pytest.mark.gpu
def test_on_a_gpu_the_gradients_are_those_of_torch(gpu_products):
    multiplier = choose_multiplier(torch.device("cuda"), torch.bfloat16)
    assert multiplier == OPERATORS
    operands = adapted_operands(device="cuda", dtype=torch.bfloat16)
    exact = [o.detach().float().requires_grad_(o.requires_grad) for o in operands]
    found = _gradients(functools.partial(_block, multiplier), operands)
    for gradient, expected in zip(found, _gradients(_plain_block, exact), strict=True):
        assert (gradient.float() - expected).norm() < 0.02 * expected.norm()
