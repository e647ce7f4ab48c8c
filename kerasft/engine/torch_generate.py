"""Generating on torch: prompts into a cache, then steps that stay on the device.

The last token of a prompt is not read with the others: it is the first that a step reads.
So filling the cache needs no logits, and every step is the same function: read a token a
row, choose the next. On an NVIDIA GPU a step is recorded as a CUDA graph for each number
of rows and replayed: tokens, positions and which rows have ended are on the device, and
the host looks at them only between blocks of steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
import torch
from torch.nn import functional as F

from kerasft.engine import compiler, torch_attention
from kerasft.engine.head import Head
from kerasft.engine.prefill import Tile, tiles
from kerasft.engine.torch_block import (
    Adapter,
    Attention,
    BlockPlan,
    adapter_matrices,
    adapter_tensors,
    decoder_block,
    lay_out,
    plan_block,
    rms_norm,
    rotary_angles,
)
from kerasft.engine.torch_generate_cache import (
    Cache,
    CachedAttention,
    FillingAttention,
    kept_tokens,
    method_of,
)
from kerasft.engine.torch_generate_session import Memory, TorchSession, rounded_rows
from kerasft.engine.torch_product import Multiplier
from kerasft.models.architecture import blocks_of
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora
from kerasft.recipe import LoraSettings

TILE = {"cuda": 16_384, "cpu": 2_048}
"""Tokens of the prompts that are read together."""

ROOM_STEP = 128
"""Rooms of a cache are multiples of this, so that one serves batches of like length."""

_IN_PLACE = Multiplier(torch.mm, torch.mm, lambda total, x, matrix: total.addmm_(x, matrix))
"""There is no gradient to keep the total for. The training step's timed products are not
for these shapes, which change with every prompt."""


class TorchGenerator:
    """Starts sessions on a live model.

    Args:
        backbone: a KerasHub backbone.
        family: its family.
        lora: the adapter on it, or None. It acts where `lora.is_active` at the start of a
            session, with the values that it has then.
        capture: record steps as CUDA graphs where there is a GPU.
        fuse: compute the element-wise parts of blocks by `torch_fused` where there is a GPU
            and Triton.

    Attributes:
        started: sessions so far; only the newest can go on.
    """

    def __init__(
        self,
        backbone: keras.Model,
        family: Family,
        lora: Lora | None,
        *,
        capture: bool = True,
        fuse: bool = True,
    ) -> None:
        config = family.config_of(backbone)
        self.architecture = family.architecture(config)
        self._lora = lora or Lora(LoraSettings(), {})
        specs = family.tensors(config)
        self._blocks = blocks_of(backbone, specs, self.architecture.kinds, self._lora)
        self._backbone = backbone
        self.head = Head(backbone)
        self._frozen = [lay_out(block) for block in self._blocks]
        self.device, self.dtype = self._embeddings.device, self._embeddings.dtype
        self._method = method_of(self.architecture, self.device, self.dtype)
        self.captures = capture and self.device.type == "cuda"
        self._fuses = fuse and self.device.type == "cuda" and compiler.obstacle() is None
        self._frequencies = {
            kind: torch.as_tensor(values).to(self.device)
            for kind, values in self.architecture.inverse_frequencies.items()
        }
        self._adapters: list[dict[str, torch.Tensor]] = []
        self._plans: dict[str, BlockPlan] = {}
        self._memory: Memory | None = None
        self.started = 0

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> TorchSession:
        """Put prompts into a cache; an older session cannot go on.

        Args:
            prompts: token ids a row; none empty.
            max_new_tokens: how many tokens may follow each.
        """
        with torch.no_grad():
            self._prepare_adapters()
            longest = max(len(prompt) for prompt in prompts)
            memory = self._room_for(len(prompts), longest + max_new_tokens)
            read = [prompt[:-1] for prompt in prompts]
            most = TILE.get(self.device.type, TILE["cpu"])
            for tile in tiles(read, most, one_line=self._method == "flash"):
                self._fill(tile, memory.cache)
            self.started += 1
            return TorchSession(self, memory, prompts, max_new_tokens)

    def hidden(self, memory: Memory, rows: int, longest: int | None) -> torch.Tensor:
        """Read the pending token of the first rows: (rows, width) after the final norm."""
        hidden = self._embedded(memory.tokens[:rows])
        positions = memory.positions[:rows]
        seen = {kind: memory.cache.visible(kind, positions, longest) for kind in self._plans}
        arch = self.architecture
        attention = CachedAttention(self._method, arch.query_scale, arch.attention_soft_cap)
        rows_of = [
            (*memory.cache.of(index, rows, longest), *seen[block.kind])
            for index, block in enumerate(self._blocks)
        ]
        attentions = dict.fromkeys(self._plans, attention)
        return self._through(hidden, positions, attentions, rows_of)

    def products_with_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary): logits before their soft-cap, in the type of the model."""
        return torch.mm(hidden, self.head.matrix(self.head.variable.value).t())

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) float32 logits."""
        logits = self.products_with_words(hidden).float()
        cap = self.head.soft_cap
        return logits.div_(cap).tanh_().mul_(cap) if cap else logits

    @property
    def adapts(self) -> bool:
        """Whether an adapter acts."""
        return self._lora.is_active and bool(self._lora.layers)

    @property
    def _embeddings(self) -> torch.Tensor:
        return self._backbone.token_embedding.embeddings.value

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = F.embedding(tokens, self._embeddings)
        scale = self.architecture.embedding_scale
        if scale is None:
            return hidden
        return hidden * torch.tensor(scale, dtype=hidden.dtype).item()

    def _fill(self, tile: Tile, cache: Cache) -> None:
        """Read a tile's prompts; their keys and values are then in the cache."""

        def moved(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(self.device)

        micro = {name: moved(getattr(tile, name)) for name in ("segment_ids", "sequence_starts")}
        hidden = self._embedded(moved(tile.token_ids.reshape(-1)))
        length = max(tile.lengths)
        attentions, rows = {}, {}
        for kind in self._plans:
            inner = torch_attention.choose(self.architecture, kind, length, self.device, self.dtype)
            attentions[kind] = FillingAttention(inner, self._method)
            room = cache.rooms[kind]
            kept = kept_tokens(tile.lengths, tile.firsts, tile.prompts, room)
            rows[kind] = (*map(moved, kept), *torch_attention.rows_for(inner, micro))
        rows_of = [
            (cache.keys[index], cache.values[index], *rows[block.kind])
            for index, block in enumerate(self._blocks)
        ]
        self._through(hidden, moved(tile.position_ids.reshape(-1)), attentions, rows_of)

    def _through(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attentions: Mapping[str, Attention],
        rows: Sequence[tuple[torch.Tensor, ...]],
    ) -> torch.Tensor:
        """All blocks and the final norm.

        Args:
            hidden: (T, width), the embedded tokens.
            positions: (T,) of the tokens.
            attentions: by kind of block.
            rows: of each block, what its attention reads.
        """
        rotary = {
            kind: rotary_angles(positions, self._frequencies[kind], self.dtype)
            for kind in self._plans
        }
        arch, last_norm = self.architecture, self._backbone.layer_norm.scale.value
        adapters = self._adapters if self.adapts else [{}] * len(self._blocks)
        kinds = [block.kind for block in self._blocks]
        if self._fuses:
            from kerasft.engine.torch_generate_block import fused_blocks

            return fused_blocks(
                arch,
                hidden,
                self._frozen,
                adapters,
                last_norm,
                [attentions[kind] for kind in kinds],
                [rotary[kind] for kind in kinds],
                rows,
            )
        for index, kind in enumerate(kinds):
            hidden = decoder_block(
                self._plans[kind],
                attentions[kind],
                hidden,
                self._frozen[index],
                adapters[index],
                rotary[kind],
                rows[index],
                {},
            )
        return rms_norm(hidden, last_norm, arch)

    def _prepare_adapters(self) -> None:
        """Each group's adapters as one, in the type of the model, in place of the last ones.

        In place because recorded steps read them where they lie.
        """
        self._plans = {}
        for index, block in enumerate(self._blocks):
            plan = plan_block(
                self.architecture, block, training=False, tiles=1, multiplier=_IN_PLACE
            )
            joined = {}
            for group, adapters in plan.adapters.items():
                if adapters:
                    a, b = adapter_matrices(adapters, adapter_tensors(block), self.dtype)
                    joined |= {f"{group}/a": torch.cat(a, dim=1), f"{group}/b": b}
            if block.kind not in self._plans:
                self._plans[block.kind] = _with_joined_adapters(plan)
            if not joined:
                continue
            if index == len(self._adapters):
                self._adapters.append(joined)
            for name, value in joined.items():
                self._adapters[index][name].copy_(value)

    def _room_for(self, rows: int, room: int) -> Memory:
        """Memory for so many rows of so many tokens: that of the last session where it fits."""
        rows = rounded_rows(rows) if self.captures else rows
        memory = self._memory
        if memory is None or memory.cache.rows < rows or memory.cache.room < room:
            # The old one goes first, with the steps that are recorded over it.
            self._memory = memory = None
            room = -(-room // ROOM_STEP) * ROOM_STEP
            cache = Cache(self.architecture, self._method, rows, room, self._embeddings)
            self._memory = memory = Memory(cache, self.device)
        return memory


def _with_joined_adapters(plan: BlockPlan) -> BlockPlan:
    """A plan whose groups have one adapter each, laid out as a matrix and scaled already."""
    joined = {}
    for group, adapters in plan.adapters.items():
        outputs = adapters[0].outputs_of_group if adapters else 0
        one = Adapter(
            target=group,
            offset=0,
            outputs=outputs,
            outputs_of_group=outputs,
            a_axes=None,
            heads=1,
            scale=1.0,
            dropout=0.0,
        )
        joined[group] = (one,) if adapters else ()
    return replace(plan, adapters=joined)
