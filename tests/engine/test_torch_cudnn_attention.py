"""The operators around cuDNN's attention, with torch's two calls computed on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch
from torch.utils.checkpoint import checkpoint

from kerasft.engine.torch_attention import Attention, rows_for
from kerasft.engine.torch_cudnn_attention import runs_on

pytestmark = pytest.mark.keras

LENGTH = 24


def plain(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal weights (B, heads, L, L) of (B, heads, L, h) and (B, groups, L, h)."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = (query @ key.transpose(2, 3)) * scale
    later = torch.ones(LENGTH, LENGTH).triu(1).bool()
    return logits.masked_fill(later, float("-inf"))


@pytest.fixture
def cudnn() -> Iterator[None]:
    """torch's operators of cuDNN on the CPU, as their kernels compute them."""

    def forward(query, key, value, bias, keeps, dropout, causal, debug=False, scale=None):
        assert bias is None and keeps and causal and dropout == 0 and query.stride(3) == 1
        logits = plain(query, key, scale)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
        # The output has the layout of the query, as in torch.
        seen = torch.empty_like(query).copy_(logits.softmax(-1) @ value)
        none = torch.empty(0)
        sums = logits.logsumexp(-1, keepdim=True)
        return seen, sums, none, none, LENGTH, LENGTH, none, none, none

    def backward(slope, query, key, value, seen, sums, *rest, scale=None):
        assert rest[5:] == (LENGTH, LENGTH, 0.0, True)
        shared = query.shape[1] // key.shape[1]
        weights = (plain(query, key, scale) - sums).exp()
        inner = slope @ value.repeat_interleave(shared, 1).transpose(2, 3)
        inner = weights * (inner - (slope * seen).sum(-1, keepdim=True)) * scale
        query_part = inner @ key.repeat_interleave(shared, 1)
        parts = (inner.transpose(2, 3) @ query, weights.transpose(2, 3) @ slope)
        summed = (part.unflatten(1, (-1, shared)).sum(2) for part in parts)
        return tuple(
            torch.empty_like(x).copy_(part)
            for x, part in zip((query, key, value), (query_part, *summed), strict=True)
        )

    library = torch.library.Library("aten", "IMPL")
    library.impl("_scaled_dot_product_cudnn_attention", forward, "CPU")
    library.impl("_scaled_dot_product_cudnn_attention_backward", backward, "CPU")
    yield
    library._destroy()


@pytest.mark.parametrize("compiled", [False, True])
def test_cudnn_attention_of_rows_is_masked_attention(compiled, cudnn):
    """Values and gradients, of views of one tensor and computed again in the backward pass."""
    random = torch.Generator().manual_seed(0)
    turning, value, slope = (
        torch.randn(3 * LENGTH, heads, 8, generator=random) for heads in (6, 2, 4)
    )
    segment_ids = torch.ones(3, LENGTH, dtype=torch.int32)
    segment_ids[1, 17:] = 0  # padding: nothing before it sees it
    slope.view(3, LENGTH, 4, 8)[1, 17:] = 0
    used = segment_ids.view(-1) > 0

    def attend(attention, turning, value, rows):
        return attention(turning[:, :4].sin(), turning[:, 4:].sin(), value, rows).cos()

    found = []
    for method in ("cudnn", "masked"):
        attention = Attention(method, 0.3, None, None, LENGTH)
        rows = rows_for(attention, {"segment_ids": segment_ids})

        def run(turning, value, attention=attention, rows=rows):
            return checkpoint(attend, attention, turning, value, rows, use_reentrant=False)

        if compiled and method == "cudnn":
            run = torch.compile(run, fullgraph=True, backend="aot_eager")
        given = [x.clone().requires_grad_() for x in (turning, value)]
        seen = run(*given)
        found.append((seen.detach()[used], *torch.autograd.grad(seen, given, slope)))
    for mine, exact in zip(*found, strict=True):
        torch.testing.assert_close(mine, exact, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("groups", [1, 2])
def test_cudnn_itself_is_masked_attention(groups, width):
    """In bfloat16, value and gradients within 2 % of those in float32 by the mask."""
    if not torch.cuda.is_available() or not runs_on(torch.device("cuda", 0)):
        pytest.skip("needs an NVIDIA GPU of the Hopper generation")
    random = torch.Generator("cuda").manual_seed(0)
    turning, value, slope = (
        torch.randn(3 * 160, heads, width, generator=random, device="cuda")
        for heads in (4 + groups, groups, 4)
    )
    rows = {"segment_ids": torch.ones(3, 160, dtype=torch.int32, device="cuda")}
    found = []
    for method, dtype in (("cudnn", torch.bfloat16), ("masked", torch.float32)):
        attention = Attention(method, width**-0.5, None, None, 160)
        given = [x.bfloat16().to(dtype).requires_grad_() for x in (turning, value)]
        seen = attention(given[0][:, :4], given[0][:, 4:], given[1], rows_for(attention, rows))
        parts = torch.autograd.grad(seen, given, slope.bfloat16().to(dtype))
        found.append([x.detach().float() for x in (seen, *parts)])
    for mine, exact in zip(*found, strict=True):
        assert (mine - exact).norm() < 0.02 * exact.norm()
