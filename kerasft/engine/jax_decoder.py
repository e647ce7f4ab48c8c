"""Hidden states of a micro-batch on JAX, from the variables of a KerasHub model."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kerasft.engine.jax_block import (
    KEPT,
    BlockPlan,
    decoder_block,
    embedded,
    plan_block,
    rms_norm,
    rotary_angles,
    tile_tokens,
)
from kerasft.models.architecture import Block, blocks_of
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora

Values = Mapping[int, jax.Array]
"""Values of Keras variables by the variable's `id`: inside of a compiled function a
variable has none of its own. A `Float8Matrix` or a `BackwardMatrix` stands for a kernel
that is rounded."""

_FLASH = "dot_product_attention_fwd"
"""How the name of cuDNN's primitive begins."""


class JaxDecoder:
    """The decoder under the loss.

    Args:
        backbone: a KerasHub backbone with the adapter on it.
        family: its family.
        lora: the adapter.
        remat: keep only the input of each block and compute the rest again in the
            backward pass, with the feed-forward layer in tiles of tokens.
    """

    def __init__(self, backbone: keras.Model, family: Family, lora: Lora, *, remat: bool) -> None:
        config = family.config_of(backbone)
        self.architecture = family.architecture(config)
        self.remat = remat
        self.blocks = blocks_of(backbone, family.tensors(config), self.architecture.kinds, lora)
        self.embedding = backbone.token_embedding.embeddings
        self.last_norm = backbone.layer_norm.scale

    def hidden(
        self, values: Values, micro: Mapping[str, jax.Array], *, packed: bool, training: bool
    ) -> jax.Array:
        """The residual stream after the last block, before the final norm: (T, width).

        Args:
            values: of every variable of the model.
            micro: `token_ids`, `segment_ids` and `position_ids` (B, L), `dropout_seeds` ().
            packed: whether a row may hold more than one segment beside its padding.
            training: whether dropout acts; `Lora.disabled` is read too.
        """
        arch = self.architecture
        hidden = embedded(arch, micro["token_ids"], values[id(self.embedding)])
        rotary = rotary_angles(arch, micro["position_ids"], hidden.dtype)
        segments = micro["segment_ids"] if packed else None
        runs: dict[BlockPlan, Callable[..., jax.Array]] = {}
        for block in self.blocks:
            plan = plan_block(arch, block, training)
            if plan not in runs:
                runs[plan] = self._function(plan, micro["token_ids"].shape, hidden)
            hidden = runs[plan](
                hidden,
                block_arrays(block, values),
                rotary[block.kind],
                segments,
                micro["dropout_seeds"],
            )
        return hidden

    def final_norm(self, values: Values, hidden: jax.Array) -> jax.Array:
        """The last norm, of any rows of the residual stream."""
        return rms_norm(self.architecture, hidden, values[id(self.last_norm)])

    def _function(
        self, plan: BlockPlan, shape: tuple[int, int], hidden: jax.Array
    ) -> Callable[..., jax.Array]:
        tokens = hidden.shape[0]
        if not self.remat and jax.default_backend() == "cpu":
            # XLA would keep on a CPU what it is asked to compute again, and compute some of
            # it again all the same: see `memory.step_memory`.
            return partial(decoder_block, plan, shape, tokens)
        if not self.remat:
            return jax.checkpoint(partial(decoder_block, plan, shape, tokens), policy=_keeps)
        tile = tile_tokens(tokens, plan.linear("gate").outputs, hidden.dtype.itemsize)
        return jax.checkpoint(partial(decoder_block, plan, shape, tile))


_keeps_names = jax.checkpoint_policies.save_only_these_names(*KEPT)


def _keeps(primitive: Any, *arguments: Any, **parameters: Any) -> bool:
    """What a block keeps: the named values, and the row sums of cuDNN's attention."""
    return primitive.name.startswith(_FLASH) or _keeps_names(primitive, *arguments, **parameters)


def block_arrays(block: Block, values: Values) -> dict[str, Any]:
    """The arrays of a block, as `jax_block` names them."""
    adapters = {
        target: projection.lora
        for target, projection in block.projections.items()
        if projection.lora is not None
    }
    return {
        "kernels": {name: values[id(each.kernel)] for name, each in block.projections.items()},
        "norms": {name: values[id(scale)] for name, scale in block.norms.items()},
        "adapters": {
            name: (values[id(layer.a)], values[id(layer.b)]) for name, layer in adapters.items()
        },
        "path_seeds": {
            name: jnp.asarray(np.uint32(layer.path_seed)) for name, layer in adapters.items()
        },
    }
