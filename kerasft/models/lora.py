"""LoRA on a KerasHub backbone, in two layouts, beside the frozen kernels.

A kernel W of a linear layer gets a low-rank product (Hu et al. 2021,
arXiv:2106.09685): y = x·W + scale · (x·A)·B, with scale = alpha / rank.

- `keras`: KerasHub's own parametrisation. A has the kernel's shape with its last
  axis replaced by the rank (so one A a head on query, key and value), B is
  (rank, last axis), shared by the heads.
- `peft`: PEFT's. The kernel is seen as one matrix (in, out): A is (in, rank), B is
  (rank, out).

The product is computed beside the kernel and never added to it: Keras' own
`kernel` property forms W + A·B at every call, and its gradient passes through a
tensor of the kernel's size.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from kerasft.errors import AdapterError, collected
from kerasft.models.families.base import Family
from kerasft.models.lora_start import path_seed, starting_a
from kerasft.recipe import LoraSettings


@dataclass(frozen=True)
class Linear:
    """The axes of a linear layer, read from its equation.

    Attributes:
        inputs, kernel, outputs: one letter an axis; an ellipsis is left out of
            `inputs` and `outputs`, so they start with the batch axes that are named.
        shape: the kernel's shape, one size a letter of `kernel`.
    """

    inputs: str
    kernel: str
    outputs: str
    shape: tuple[int, ...]

    @property
    def contracted(self) -> str:
        """Axes that are summed over, in the order of the input."""
        return "".join(axis for axis in self.inputs if axis in self.kernel)

    @property
    def produced(self) -> str:
        """Axes that the kernel adds, in the order of the output."""
        return "".join(axis for axis in self.outputs if axis in self.kernel)

    def size(self, axes: str) -> int:
        return math.prod(self.shape[self.kernel.index(axis)] for axis in axes)

    def sizes(self, axes: str) -> tuple[int, ...]:
        return tuple(self.shape[self.kernel.index(axis)] for axis in axes)


def linear_of(layer: keras.layers.Layer) -> Linear:
    """The axes of a `Dense` or `EinsumDense` layer."""
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, _, rest = layer.equation.replace(" ", "").partition(",")
        kernel, _, outputs = rest.partition("->")
        shape = tuple(layer.kernel.shape)
        return Linear(inputs.lstrip("."), kernel, outputs.lstrip("."), shape)
    return Linear("i", "io", "o", tuple(layer.kernel.shape))


class LoraLinear(keras.layers.Layer):
    """A frozen linear layer with a trainable low-rank product beside it.

    Stands in the place of the layer that it wraps, also in decoding.

    Args:
        base: the `Dense` or `EinsumDense` layer.
        settings: layout, rank and alpha; the training step applies the dropout.
        path: canonical path below the backbone, such as
            `decoder_block_0/attention/query`; it seeds A and the dropout.
        seed: seed of A.
    """

    def __init__(
        self, base: keras.layers.Layer, settings: LoraSettings, path: str, seed: int
    ) -> None:
        compute = base.compute_dtype
        super().__init__(
            name=f"{base.name}_lora", dtype=compute if compute == "float32" else f"mixed_{compute}"
        )
        self.base = base
        self.layout = settings.layout
        self.scale = settings.scale
        self.active = True
        self.linear = linear_of(base)
        self.path_seed = path_seed(path)
        self.dropout = settings.dropout
        a_shape, b_shape = lora_shapes(self.linear, settings.layout, settings.rank)
        self.a = self.add_weight(name="lora_a", shape=a_shape, initializer="zeros")
        self.b = self.add_weight(name="lora_b", shape=b_shape, initializer="zeros")
        self.a.assign(starting_a(path, a_shape, settings.layout, seed))
        self.built = True

    @property
    def _kernel(self) -> keras.Variable:
        """The frozen kernel, found where the wrapped layer has it."""
        return self.base._kernel

    @property
    def kernel(self) -> keras.Variable:
        return self.base.kernel

    def call(self, inputs):
        outputs = self.base(inputs)
        if not self.active:
            return outputs
        return outputs + self.scale * self._product(inputs)

    def _product(self, inputs):
        linear, ops = self.linear, keras.ops
        if self.layout == "keras":
            rank = _free_letter(linear)
            low = linear.outputs.replace(linear.kernel[-1], rank)
            equation = f"...{linear.inputs},{linear.kernel[:-1]}{rank}->...{low}"
            return ops.matmul(ops.einsum(equation, inputs, self.a), self.b)
        batch = ops.shape(inputs)[: -len(linear.contracted)]
        flat = ops.reshape(inputs, (*batch, linear.size(linear.contracted)))
        product = ops.matmul(ops.matmul(flat, self.a), self.b)
        return ops.reshape(product, (*batch, *linear.sizes(linear.produced)))

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)


def lora_shapes(linear: Linear, layout: str, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A and B for a kernel, in a layout."""
    if layout == "keras":
        return (*linear.shape[:-1], rank), (rank, linear.shape[-1])
    return (linear.size(linear.contracted), rank), (rank, linear.size(linear.produced))


def _free_letter(linear: Linear) -> str:
    used = set(linear.inputs + linear.kernel + linear.outputs)
    return next(letter for letter in "rzyxw" if letter not in used)


class Lora:
    """The adapter on a model: its layers by canonical path, in model order.

    Attributes:
        settings: layout, rank, alpha, dropout and targets.
        layers: canonical path → `LoraLinear`.
    """

    def __init__(self, settings: LoraSettings, layers: dict[str, LoraLinear]) -> None:
        self.settings = settings
        self.layers = layers

    @property
    def variables(self) -> list[keras.Variable]:
        """A and B of every layer, in model order."""
        return [variable for layer in self.layers.values() for variable in (layer.a, layer.b)]

    @property
    def parameters(self) -> int:
        return sum(math.prod(variable.shape) for variable in self.variables)

    def tensors(self) -> dict[str, np.ndarray]:
        """A and B as float32 arrays: `PATH/a` and `PATH/b`."""
        return {
            f"{path}/{name}": np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
            for path, layer in self.layers.items()
            for name, variable in (("a", layer.a), ("b", layer.b))
        }

    def assign(self, tensors: dict[str, np.ndarray]) -> None:
        """Set every A and B.

        Args:
            tensors: as `tensors` gives them; all of them, and no others.

        Raises:
            AdapterError: every missing, unknown and misshapen tensor, at once.
        """
        targets = {
            f"{path}/{name}": variable
            for path, layer in self.layers.items()
            for name, variable in (("a", layer.a), ("b", layer.b))
        }
        faults = [f"{name} is missing" for name in targets if name not in tensors]
        faults += [f"{name} belongs to no layer" for name in tensors if name not in targets]
        faults += [
            f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(variable.shape)}"
            for name, variable in targets.items()
            if name in tensors and tuple(tensors[name].shape) != tuple(variable.shape)
        ]
        if faults:
            raise AdapterError(collected("the adapter does not fit this model", faults))
        for name, variable in targets.items():
            variable.assign(np.asarray(tensors[name], np.float32))

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base model alone, inside the block."""
        for layer in self.layers.values():
            layer.active = False
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.active = True

    @property
    def is_active(self) -> bool:
        return all(layer.active for layer in self.layers.values())


def attach(causal_lm: keras.Model, family: Family, settings: LoraSettings, seed: int) -> Lora:
    """Freeze a causal LM and put an adapter on its decoder blocks.

    Args:
        causal_lm: a KerasHub causal LM.
        family: its family, which knows where the targets lie.
        settings: layout, rank, alpha, dropout, targets.
        seed: seed of A.

    Raises:
        AdapterError: a target matches no layer.
    """
    unknown = [target for target in settings.target_layers if target not in family.targets]
    if unknown:
        raise AdapterError(
            f"lora.target_layers names {', '.join(unknown)}, which {family.name} has not; "
            f"it has {', '.join(family.targets)}"
        )
    for variable in causal_lm.variables:
        variable.trainable = False
    layers = {}
    for index, block in enumerate(family.blocks(causal_lm.backbone)):
        for target, path in family.targets.items():
            if target not in settings.target_layers:
                continue
            owner = block
            for attribute in path[:-1]:
                owner = getattr(owner, attribute)
            room = "attention" if target in ("query", "key", "value", "output") else "ffw"
            name = f"decoder_block_{index}/{room}/{target}"
            layers[name] = LoraLinear(getattr(owner, path[-1]), settings, name, seed)
            _replace(owner, path[-1], layers[name])
    return Lora(settings, layers)


def _replace(owner: keras.layers.Layer, attribute: str, layer: keras.layers.Layer) -> None:
    """Put a layer in the place of a sub-layer of a built layer."""
    old = getattr(owner, attribute)
    # A built layer refuses new sub-layers; the tracker is opened for this one, and
    # the old one is dropped from its list, since the new one holds it now.
    owner._tracker.unlock()
    setattr(owner, attribute, layer)
    del owner._layers[next(i for i, sub in enumerate(owner._layers) if sub is old)]
    owner._tracker.lock()
