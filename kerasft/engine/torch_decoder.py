"""Hidden states of a micro-batch on torch, from the live variables of a KerasHub model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kerasft.engine import torch_attention
from kerasft.engine.compiler import compiled
from kerasft.engine.dropout import layer_key
from kerasft.engine.float8 import check_matrices
from kerasft.engine.torch_block import (
    GROUPS,
    adapter_tensors,
    decoder_block,
    lay_out,
    move,
    plan_block,
    rms_norm,
    rotary_angles,
)
from kerasft.engine.torch_decompositions import compiling, shown_to_the_compiler
from kerasft.engine.torch_float8 import backward_matrix, float8_matrix
from kerasft.engine.torch_int8 import int8_matrix
from kerasft.engine.torch_product import choose_multiplier
from kerasft.models.architecture import blocks_of
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora

Micro = Mapping[str, torch.Tensor]

_TILES = 4
"""Parts of the tokens whose feed-forward layers are computed one after the other under
rematerialisation. For Gemma-2B at 8 × 512 on an H100 two parts took 102 ms a step and
5.51 GiB, four 104 ms and 5.36 GiB; with the base in float8 78.3 ms and 5.49 GiB, 79.5 ms and
5.37 GiB."""


_ROUNDING = {
    "float8": float8_matrix,
    "float8-backward": backward_matrix,
    "int8-backward": int8_matrix,
}
"""What a group's matrix becomes, by `model.quantization`."""


@dataclass(frozen=True)
class _Kind:
    """What the blocks of one kind share in a micro-batch."""

    rotary: tuple[torch.Tensor, torch.Tensor]
    rows: tuple[torch.Tensor, ...]
    run: Callable[..., torch.Tensor]


class TorchDecoder:
    """The decoder under the loss.

    Args:
        backbone: a KerasHub backbone with the adapter on it.
        family: its family.
        lora: the adapter.
        remat: keep only the input of each block and compute the rest again in the
            backward pass.
        compile_blocks: compile one function a kind of block; eager where not.
        quantization: as `model.quantization`, of the blocks' matrices. From the first hidden
            states on they are rounded, until `restore`; with `float8` their originals are in
            the host's memory meanwhile.

    Attributes:
        rounded: whether the matrices are rounded now.

    Raises:
        ModelError: the matrices cannot be in float8.
    """

    def __init__(
        self,
        backbone: keras.Model,
        family: Family,
        lora: Lora,
        *,
        remat: bool,
        compile_blocks: bool,
        quantization: str = "none",
    ) -> None:
        config = family.config_of(backbone)
        self.architecture = family.architecture(config)
        self.remat = remat
        self.compile_blocks = compile_blocks
        self._backbone = backbone
        self._blocks = blocks_of(backbone, family.tensors(config), self.architecture.kinds, lora)
        matrix = backbone.token_embedding.embeddings.value
        self.multiplier = choose_multiplier(matrix.device, matrix.dtype)
        self._frozen: list[dict[str, Any]] = [lay_out(block) for block in self._blocks]
        self._quantization = quantization
        self.rounded = False
        if quantization.startswith("float8"):
            check_matrices(
                (group, tuple(tensors[group].shape), str(tensors[group].dtype)[len("torch.") :])
                for tensors in self._frozen
                for group in GROUPS
            )
        if compile_blocks and quantization != "none":
            shown_to_the_compiler()
        self._dropout = bool(lora.settings.dropout)
        self._runs: dict[Any, Callable[..., torch.Tensor]] = {}
        self._frequencies: dict[str, torch.Tensor] = {}

    def keys(self, seed: int) -> list[list[int]]:
        """The dropout keys of a micro-batch: for each block, one a target with an adapter."""
        if not self._dropout:
            return []
        return [
            [
                layer_key(seed, projection.lora.path_seed)
                for projection in block.projections.values()
                if projection.lora is not None
            ]
            for block in self._blocks
        ]

    def hidden(self, micro: Micro, training: bool) -> torch.Tensor:
        """The residual stream after the last block, before the final norm: (T, width).

        Args:
            micro: `token_ids`, `segment_ids`, `position_ids` (B, L), `sequence_starts`
                (S,) and, where dropout acts, `dropout_keys` (blocks, targets) int64.
            training: whether dropout acts.
        """
        if self._quantization != "none" and not self.rounded:
            self._round()
        embeddings = self._backbone.token_embedding.embeddings.value
        arch = self.architecture
        hidden = F.embedding(micro["token_ids"].reshape(-1), embeddings)
        if arch.embedding_scale is not None:
            scale = torch.tensor(arch.embedding_scale, dtype=hidden.dtype).item()
            hidden = hidden * scale
        # The first block is then the same function as the others, also to the compiler.
        hidden.requires_grad_(torch.is_grad_enabled())
        kinds: dict[str, _Kind] = {}
        for index, block in enumerate(self._blocks):
            if block.kind not in kinds:
                kinds[block.kind] = self._kind(index, micro, training, hidden.dtype)
            kind = kinds[block.kind]
            keys = {}
            if training and self._dropout:
                targets = [t for t, p in block.projections.items() if p.lora is not None]
                keys = dict(zip(targets, micro["dropout_keys"][index], strict=True))
            hidden = kind.run(
                hidden,
                self._frozen[index],
                adapter_tensors(block),
                kind.rotary,
                kind.rows,
                keys,
            )
        return hidden

    def _round(self) -> None:
        """Round the matrices; originals that nothing computes with go, bit for bit, to the host."""
        for block, tensors in zip(self._blocks, self._frozen, strict=True):
            for group in GROUPS:
                tensors[group] = _ROUNDING[self._quantization](tensors[group])
            if self._quantization == "float8":
                move(block, torch.device("cpu"))
        self.rounded = True

    def restore(self) -> None:
        """Give up what was rounded; originals on the host come back to the device."""
        device = self._backbone.token_embedding.embeddings.value.device
        for index, block in enumerate(self._blocks):
            self._frozen[index] = {}
            move(block, device)
            self._frozen[index] = lay_out(block)
        self.rounded = False

    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        """The last norm, of any rows of the residual stream."""
        return rms_norm(hidden, self._backbone.layer_norm.scale.value, self.architecture)

    def _kind(self, index: int, micro: Micro, training: bool, dtype: torch.dtype) -> _Kind:
        block, arch = self._blocks[index], self.architecture
        ids = micro["token_ids"]
        attention = torch_attention.choose(arch, block.kind, ids.shape[1], ids.device, dtype)
        if block.kind not in self._frequencies:
            self._frequencies[block.kind] = torch.as_tensor(
                arch.inverse_frequencies[block.kind]
            ).to(ids.device)
        plan = plan_block(
            arch,
            block,
            training=training,
            tiles=_TILES if self.remat else 1,
            multiplier=self.multiplier,
        )
        key = (attention, tuple(plan.adapters.items()))
        if key not in self._runs:
            self._runs[key] = self._function(plan, attention)
        rotary = rotary_angles(
            micro["position_ids"].reshape(-1), self._frequencies[block.kind], dtype
        )
        return _Kind(rotary, torch_attention.rows_for(attention, micro), self._runs[key])

    def _function(self, plan: Any, attention: torch_attention.Attention) -> Callable:
        def run(hidden, frozen, adapters, rotary, rows, keys):
            arguments = (plan, attention, hidden, frozen, adapters, rotary, rows, keys)
            if self.remat and torch.is_grad_enabled():
                # Dropout is a function of its key, so there is no random state to keep.
                return checkpoint(
                    decoder_block, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            return decoder_block(*arguments)

        if not self.compile_blocks:
            return run
        float8 = self._quantization.startswith("float8")
        return compiled(run, options=compiling(self.remat) if float8 else None)
