"""Products whose gradients numpy has rounded, for what the engine rounds on torch."""

from collections.abc import Callable

import numpy as np
import torch


def with_rounded_gradient(
    rounded: Callable[[np.ndarray], np.ndarray],
) -> type[torch.autograd.Function]:
    """x · matrix as it is; its gradient is of factors whose rows `rounded` has rounded."""

    class Emulated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, matrix):
            ctx.matrix = matrix.detach().double().numpy()
            return x @ matrix

        @staticmethod
        def backward(ctx, gradient):
            product = rounded(gradient.double().numpy()) @ rounded(ctx.matrix).T
            return torch.from_numpy(product).to(gradient.dtype), None

    return Emulated
