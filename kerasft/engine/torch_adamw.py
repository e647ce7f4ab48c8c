"""AdamW over all of an adapter at once.

The state stays Keras' own: A, B and the optimizer's moments are variables as ever, and
checkpoints save them as such. Their storage is laid end to end, so that clipping and the
update are a dozen operations on four long vectors and not on hundreds of small ones.
"""

from collections.abc import Sequence

import keras
import torch


class FlatVariables:
    """Trainable variables and their gradients, each as one vector.

    Args:
        variables: float32; their storage is replaced by views of the vector.

    Attributes:
        vector, gradient: values and summed gradients.
        tensors, gradients: views of them, one a variable.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self.vector = laid_end_to_end(variables)
        self.gradient = torch.zeros_like(self.vector)
        self.tensors = [variable.value for variable in variables]
        self.gradients = _views(self.gradient, self.tensors)

    def add_gradients(self, parts: Sequence[torch.Tensor]) -> None:
        """Add the gradients of a micro-batch, one a variable."""
        torch._foreach_add_(self.gradients, list(parts))


class FlatAdamW:
    """The update of `keras.optimizers.AdamW`, on vectors.

    For the gradient g, clipped to norm c, at step t (from 1) with rate η:

        p ← p − η·λ·p,   m ← β₁m + (1 − β₁)g,   v ← β₂v + (1 − β₂)g²,
        p ← p − η·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)

    which is Keras' form of Loshchilov and Hutter 2019, arXiv:1711.05101: ε stands beside
    the uncorrected √v.

    Args:
        optimizer: built on `variables`.
        variables: in the order of `flat`.
        flat: their values and gradients.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.AdamW,
        variables: Sequence[keras.Variable],
        flat: FlatVariables,
    ) -> None:
        self._optimizer = optimizer
        self._flat = flat
        places = [optimizer._get_variable_index(variable) for variable in variables]
        self._first = laid_end_to_end([optimizer._momentums[place] for place in places])
        self._second = laid_end_to_end([optimizer._velocities[place] for place in places])
        self.restart()

    def restart(self) -> None:
        """Read the count of steps from the optimizer, which may have been restored."""
        self._step = int(self._optimizer.iterations.value)

    @torch.no_grad()
    def update(
        self, clip_norm: float, loss: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, float]:
        """Clip the summed gradients and apply them.

        Args:
            clip_norm: largest norm; 0 for no clipping.
            loss: where it is given and it or the norm is not finite, values and moments
                stay as they are; the step counts all the same.

        Returns:
            The norm before clipping, on the device, and the learning rate.
        """
        optimizer, gradient, values = self._optimizer, self._flat.gradient, self._flat.vector
        rate = self._rate(self._step)
        optimizer.iterations.value.add_(1)
        self._step += 1
        correction = (1 - optimizer.beta_2**self._step) ** 0.5 / (1 - optimizer.beta_1**self._step)
        norm = torch.linalg.vector_norm(gradient)
        if loss is not None:
            changed = (values, self._first, self._second)
            former = [vector.clone() for vector in changed]
        if clip_norm:
            gradient.mul_(clip_norm / norm.clamp(min=clip_norm))
        if optimizer.weight_decay:
            values.mul_(1 - rate * optimizer.weight_decay)
        self._first.lerp_(gradient, 1 - optimizer.beta_1)
        self._second.mul_(optimizer.beta_2).addcmul_(gradient, gradient, value=1 - optimizer.beta_2)
        values.addcdiv_(
            self._first, self._second.sqrt().add_(optimizer.epsilon), value=-rate * correction
        )
        if loss is not None:
            # Decided on the device: asking it would wait for it.
            finite = torch.isfinite(norm) & torch.isfinite(loss)
            for vector, old in zip(changed, former, strict=True):
                torch.where(finite, vector, old, out=vector)
        return norm, rate

    def _rate(self, step: int) -> float:
        # On the CPU: asking the GPU would wait for it.
        with keras.device("cpu"):
            return float(self._optimizer._learning_rate(step))


def laid_end_to_end(variables: Sequence[keras.Variable]) -> torch.Tensor:
    """One vector that holds the values of all variables, which become views of it."""
    tensors = [variable.value for variable in variables]
    vector = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    for tensor, view in zip(tensors, _views(vector, tensors), strict=True):
        tensor.data = view
    return vector


def _views(vector: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    sizes = [tensor.numel() for tensor in like]
    return [part.view(tensor.shape) for part, tensor in zip(vector.split(sizes), like, strict=True)]
