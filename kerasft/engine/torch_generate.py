"""Generating on torch: prompts into a cache, then steps that stay on the device.

The last token of a prompt is not read with the others: it is the first that a step reads.
So filling the cache needs no logits, and every step is the same function: read a token a
row, choose the next. On an NVIDIA GPU a step is recorded as a CUDA graph for each number
of rows and replayed: tokens, positions and which rows have ended are on the device, and
the host looks at them only between blocks of steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional as F

from kerasft.engine import compiler, torch_attention
from kerasft.engine.head import Head
from kerasft.engine.prefill import Tile, tiles
from kerasft.engine.torch_block import (
    Adapter,
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

COMPILED_FROM = 64
"""Rows from which blocks are compiled on a GPU: fewer are not worth the seconds."""

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
        compile_from: rows from which blocks are compiled on a GPU; None for never.
    """

    def __init__(
        self,
        backbone: keras.Model,
        family: Family,
        lora: Lora | None,
        *,
        capture: bool = True,
        compile_from: int | None = None,
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
        self._compile_from = compile_from if self.device.type == "cuda" else None
        self._frequencies = {
            kind: torch.as_tensor(values).to(self.device)
            for kind, values in self.architecture.inverse_frequencies.items()
        }
        self._adapters: list[dict[str, torch.Tensor]] = []
        self._plans: dict[str, BlockPlan] = {}
        self._functions: dict[Any, Callable[..., torch.Tensor]] = {}
        self._compiled = False
        self._memory: Memory | None = None
        self.session: TorchSession | None = None

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> TorchSession:
        """Put prompts into a cache; an older session cannot go on.

        Args:
            prompts: token ids a row; none empty.
            max_new_tokens: how many tokens may follow each.
        """
        if not self._compiled and self._compile_from is not None:
            self._compiled = len(prompts) >= self._compile_from and compiler.obstacle() is None
        with torch.no_grad():
            self._prepare_adapters()
            longest = max(len(prompt) for prompt in prompts)
            memory = self._room_for(len(prompts), longest + max_new_tokens)
            read = [prompt[:-1] for prompt in prompts]
            most = TILE.get(self.device.type, TILE["cpu"])
            for tile in tiles(read, most, one_line=self._method == "flash"):
                self._fill(tile, memory.cache, longest)
            self.session = TorchSession(self, memory, prompts, max_new_tokens)
        return self.session

    def hidden(self, memory: Memory, rows: int, longest: int | None) -> torch.Tensor:
        """Read the pending token of the first rows: (rows, width) after the final norm."""
        hidden = self._embedded(memory.tokens[:rows])
        positions = memory.positions[:rows]
        seen = {kind: memory.cache.visible(kind, positions, longest) for kind in self._plans}
        rotary = self._rotary(positions)
        arch = self.architecture
        attention = CachedAttention(self._method, arch.query_scale, arch.attention_soft_cap)
        for index, block in enumerate(self._blocks):
            entries = memory.cache.of(index, rows, longest)
            hidden = self._run(
                index, attention, hidden, rotary[block.kind], (*entries, *seen[block.kind])
            )
        return rms_norm(hidden, self._backbone.layer_norm.scale.value, arch)

    def products_with_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary): logits before their soft-cap, in the type of the model."""
        return torch.mm(hidden, self.head.matrix(self.head.variable.value).t())

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) float32 logits."""
        logits = self.products_with_words(hidden).float()
        cap = self.head.soft_cap
        return logits.div_(cap).tanh_().mul_(cap) if cap else logits

    @property
    def state(self) -> tuple[bool, bool]:
        """What a recorded step depends on beside its shapes."""
        return self._lora.is_active and bool(self._lora.layers), self._compiled

    @property
    def _embeddings(self) -> torch.Tensor:
        return self._backbone.token_embedding.embeddings.value

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = F.embedding(tokens, self._embeddings)
        scale = self.architecture.embedding_scale
        if scale is None:
            return hidden
        return hidden * torch.tensor(scale, dtype=hidden.dtype).item()

    def _rotary(self, positions: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {
            kind: rotary_angles(positions, self._frequencies[kind], self.dtype)
            for kind in self._plans
        }

    def _fill(self, tile: Tile, cache: Cache, longest: int) -> None:
        """Read a tile's prompts, none longer than `longest`, into the cache."""

        def moved(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(self.device)

        micro = {name: moved(getattr(tile, name)) for name in ("segment_ids", "sequence_starts")}
        hidden = self._embedded(moved(tile.token_ids.reshape(-1)))
        rotary = self._rotary(moved(tile.position_ids.reshape(-1)))
        # Flash attention takes any bound of the lengths, and each is compiled for.
        flash = self._method == "flash"
        bound = 1 << (longest - 1).bit_length() if flash else tile.token_ids.shape[1]
        attentions, rows = {}, {}
        for kind in self._plans:
            inner = torch_attention.choose(self.architecture, kind, bound, self.device, self.dtype)
            attentions[kind] = FillingAttention(inner, self._method)
            room = cache.rooms[kind]
            kept = kept_tokens(tile.lengths, tile.firsts, tile.prompts, room)
            rows[kind] = (*map(moved, kept), *torch_attention.rows_for(inner, micro))
        for index, block in enumerate(self._blocks):
            kind = block.kind
            entries = cache.keys[index], cache.values[index]
            hidden = self._run(
                index, attentions[kind], hidden, rotary[kind], (*entries, *rows[kind])
            )

    def _run(
        self,
        index: int,
        attention: CachedAttention | FillingAttention,
        hidden: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        rows: tuple[torch.Tensor, ...],
    ) -> torch.Tensor:
        plan = self._plans[self._blocks[index].kind]
        acts, compiled = self.state
        key = (attention, acts, compiled)
        if key not in self._functions:

            def run(hidden, frozen, adapters, rotary, rows):
                return decoder_block(plan, attention, hidden, frozen, adapters, rotary, rows, {})

            self._functions[key] = compiler.compiled(run) if compiled else run
        if compiled:
            for tensor in (hidden, *rotary, *rows):
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        adapters = self._adapters[index] if acts else {}
        return self._functions[key](hidden, self._frozen[index], adapters, rotary, rows)

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
            self._memory = memory = self.session = None
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
