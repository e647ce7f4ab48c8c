"""Generating on JAX: prompts into a cache, then steps that stay on the device.

The last token of a prompt is not filled in with the others: it is the first that a step
runs. So filling needs no logits, every step is the same program, and the token that was
chosen last is run only if something asks for what follows it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kerasft.engine.device import chunk_bytes, current
from kerasft.engine.head import Head
from kerasft.engine.jax_attention import uses_cudnn
from kerasft.engine.jax_block import (
    Adapter,
    BlockPlan,
    embedded,
    factors,
    plan_block,
    rotary_angles,
)
from kerasft.engine.jax_cache import (
    Cache,
    empty_cache,
    filling_block,
    stepping_block,
    stored,
    visible_slots,
)
from kerasft.engine.jax_decoder import JaxDecoder, Values, block_arrays
from kerasft.engine.jax_rooms import Room, TileShape, room_for, rounded, tile_for
from kerasft.engine.jax_session import NOTHING, JaxSession, State
from kerasft.engine.prefill import tiles
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora
from kerasft.recipe import LoraSettings

Adapters = list[dict[str, tuple[jax.Array, jax.Array]]]
"""Of each block, by target: see `jax_block.factors`. Empty where the adapter does not act."""

_AS_FACTORS = Adapter(a_axes=None, scale=1.0, dropout=0.0)
"""How factors lie beside their kernel."""

TILE = {"cpu": 2_048}
"""Tokens of the prompts that are filled in together; `TILE_ELSEWHERE` on accelerators."""

TILE_ELSEWHERE = 16_384

SPARE = {"cpu": 32}
"""How many times as large as needed a shape may be that is compiled for already;
`SPARE_ELSEWHERE` on accelerators, where large steps cost little more than small ones and
compiling costs more."""

SPARE_ELSEWHERE = 256


class JaxGenerator:
    """Starts sessions on a live model, and holds what is compiled for them.

    Args:
        backbone: a KerasHub backbone.
        family: its family.
        lora: the adapter on it, or None. It acts where `lora.is_active` at the start of a
            session, with the values that it has then.
    """

    def __init__(self, backbone: keras.Model, family: Family, lora: Lora | None) -> None:
        self._lora = lora or Lora(LoraSettings(), {})
        self._decoder = JaxDecoder(backbone, family, self._lora, remat=False)
        self._head = Head(backbone)
        self._variables = backbone.variables
        self._plans = [
            plan_block(self._decoder.architecture, block, training=False)
            for block in self._decoder.blocks
        ]
        self._compiled: dict[str, Callable] = {}
        self._rooms: set[Room] = set()
        self._tiles: set[TileShape] = set()
        self._spare = SPARE.get(current().kind, SPARE_ELSEWHERE)

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> JaxSession:
        """Put prompts into a cache.

        Args:
            prompts: token ids a row; none empty.
            max_new_tokens: how many tokens may follow each.
        """
        arch = self._decoder.architecture
        adapters = self._call("adapters") if self._lora.is_active else [{} for _ in self._plans]
        longest = max(len(prompt) for prompt in prompts) - 1
        # The token that is chosen last has a slot too: what follows it may be asked for.
        room = room_for(self._rooms, len(prompts), longest, max_new_tokens + 1, self._spare)
        self._rooms.add(room)
        # Rows that fill the batch up are one token long and have ended.
        given = [*prompts, *[[0]] * (room.rows - len(prompts))]
        before = np.array([len(prompt) - 1 for prompt in given], np.int32)
        firsts = {
            kind: min(room.prompt, arch.window_of(kind) or room.prompt) for kind in arch.kinds
        }
        shifts = {
            kind: before - first if first < room.prompt else 0 * before
            for kind, first in firsts.items()
        }
        cache = self._filled(prompts, longest, room, firsts, shifts, adapters)
        state = {
            "cache": cache,
            "pending": np.array([prompt[-1] for prompt in given], np.int32),
            "before": before,
            "shifts": shifts,
            "ended": np.arange(room.rows) >= len(prompts),
        }
        return JaxSession(
            self._call,
            state,
            adapters,
            len(prompts),
            {kind: np.int32(first) for kind, first in firsts.items()},
            max_new_tokens,
            room.answer,
        )

    def _filled(
        self,
        prompts: Sequence[Sequence[int]],
        longest: int,
        room: Room,
        firsts: Mapping[str, int],
        shifts: Mapping[str, np.ndarray],
        adapters: Adapters,
    ) -> Cache:
        """A cache with the prompts without their last tokens."""
        arch, dtype = self._decoder.architecture, self._decoder.embedding.value.dtype
        slots = [firsts[kind] + room.answer for kind in arch.kinds]
        cache = empty_cache(slots, room.rows, arch.key_value_heads, arch.head_width, dtype)
        most = self._tile_rows(rounded(longest))
        shape = tile_for(self._tiles, room.rows, longest, most, self._spare)
        read = [prompt[:-1] for prompt in prompts]
        for tile in tiles(read, shape.size, one_line=False, length=shape.length):
            self._tiles.add(shape)
            missing = ((0, shape.rows - len(tile.token_ids)), (0, 0))
            tokens, segments, positions = (
                np.pad(each, missing)
                for each in (tile.token_ids, tile.segment_ids, tile.position_ids)
            )
            rows = np.zeros(shape.size, np.int32)
            for prompt, first, length in zip(tile.prompts, tile.firsts, tile.lengths, strict=True):
                rows[first : first + length] = prompt
            line, written = positions.reshape(-1), segments.reshape(-1) > 0
            places = {
                kind: np.where(written, line - shift[rows], -1) for kind, shift in shifts.items()
            }
            entries = self._call("fill", tokens, segments, positions, adapters)
            cache = self._call("write", cache, entries, rows, places)
        return cache

    def _call(self, name: str, *arguments: Any, **static: Any) -> Any:
        """Call `_NAME` compiled, on the variables and what is given.

        Its first argument after the variables is given up for what comes out, but where
        rows are reordered: those cannot be written where they are read.

        Args:
            static: Python values that are compiled for.
        """
        if name not in self._compiled:
            # JAX would know a method again that another generator has traced, by its equality.
            function = partial(getattr(self, f"_{name}"))
            self._compiled[name] = jax.jit(
                function,
                donate_argnums=(1,) if name in ("write", "logits", "greedy") else (),
                static_argnames=tuple(static),
            )
        values = [variable.value for variable in self._variables]
        return self._compiled[name](values, *arguments, **static)

    def _adapters(self, values: list) -> Adapters:
        """Both factors of every adapter, as the blocks multiply by them."""
        by_id, dtype = self._by_id(values), self._decoder.embedding.dtype
        found: Adapters = []
        for block in self._decoder.blocks:
            # Not one of the plans that are kept: they may be from when it did not act.
            plan = plan_block(self._decoder.architecture, block, training=False)
            arrays = block_arrays(block, by_id)["adapters"]
            found.append({})
            for target, (a, b) in arrays.items():
                linear = plan.linear(target)
                found[-1][target] = factors(linear, a, linear.adapter.scale * b, dtype)
        return found

    def _fill(
        self,
        values: list,
        tokens: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        adapters: Adapters,
    ) -> list[tuple[jax.Array, jax.Array]]:
        """Keys and values (B·L, key-value heads, h) of each block, from tokens (B, L)."""
        arch, by_id = self._decoder.architecture, self._by_id(values)
        hidden = embedded(arch, tokens, by_id[id(self._decoder.embedding)])
        rotary = rotary_angles(arch, positions, hidden.dtype)
        run = jax.jit(filling_block, static_argnums=(0, 1))
        entries = []
        for plan, arrays in self._blocks(by_id, adapters):
            hidden, *entry = run(plan, tokens.shape, hidden, arrays, rotary[plan.kind], segments)
            entries.append(tuple(entry))
        return entries

    def _write(
        self,
        values: list,
        cache: Cache,
        entries: list[tuple[jax.Array, jax.Array]],
        rows: jax.Array,
        places: dict[str, jax.Array],
    ) -> Cache:
        """The cache with a tile's keys and values, in `rows` and, by kind, `places` (B·L,)."""
        return tuple(
            tuple(
                stored(old, new, rows, places[kind]) for old, new in zip(kept, given, strict=True)
            )
            for kind, kept, given in zip(
                self._decoder.architecture.kinds, cache, entries, strict=True
            )
        )

    def _logits(
        self,
        values: list,
        state: State,
        adapters: Adapters,
        firsts: dict[str, jax.Array],
        step: jax.Array,
    ) -> tuple[State, jax.Array]:
        """Run the pending tokens: float32 (B, vocabulary) logits of the next ones."""
        cache, logits = self._step(self._by_id(values), adapters, state, firsts, step)
        if self._head.soft_cap:
            logits = self._head.soft_cap * jnp.tanh(logits / self._head.soft_cap)
        return state | {"cache": cache}, logits

    def _greedy(
        self,
        values: list,
        state: State,
        adapters: Adapters,
        firsts: dict[str, jax.Array],
        begin: jax.Array,
        steps: jax.Array,
        stops: jax.Array,
        *,
        room: int,
    ) -> tuple[State, jax.Array, jax.Array]:
        """Up to `steps` tokens a row, (B, room) int32, and how many were taken."""
        by_id = self._by_id(values)

        def goes_on(carry: tuple[State, jax.Array, jax.Array]) -> jax.Array:
            state, _, taken = carry
            return (taken < steps) & ~state["ended"].all()

        def step(carry: tuple[State, jax.Array, jax.Array]) -> tuple:
            state, answers, taken = carry
            # A soft-cap on the logits keeps their order.
            cache, logits = self._step(by_id, adapters, state, firsts, begin + taken)
            chosen = jnp.argmax(logits, axis=-1).astype(jnp.int32)
            given = jnp.where(state["ended"], NOTHING, chosen)
            answers = jax.lax.dynamic_update_slice(answers, given[:, None], (0, taken))
            ended = state["ended"] | (chosen[:, None] == stops).any(axis=-1)
            state = state | {"cache": cache, "pending": chosen, "ended": ended}
            return state, answers, taken + 1

        answers = jnp.full((len(state["ended"]), room), NOTHING, jnp.int32)
        return jax.lax.while_loop(goes_on, step, (state, answers, jnp.int32(0)))

    def _reorder(self, values: list, state: State, rows: jax.Array, live: jax.Array) -> State:
        """The state of `rows`, of which the first `live` are wanted."""

        def taken(each: jax.Array) -> jax.Array:
            # A row of the cache is as many as there are heads.
            by_row = each.reshape(len(state["before"]), -1, *each.shape[1:])
            return by_row[rows].reshape(-1, *each.shape[1:])

        moved = jax.tree.map(taken, state)
        return moved | {"ended": moved["ended"] | (jnp.arange(len(rows)) >= live)}

    def _step(
        self,
        by_id: Values,
        adapters: Adapters,
        state: State,
        firsts: dict[str, jax.Array],
        step: jax.Array,
    ) -> tuple[Cache, jax.Array]:
        """The cache with the pending tokens, and logits after them without a soft-cap."""
        arch, before = self._decoder.architecture, state["before"]
        hidden = embedded(arch, state["pending"], by_id[id(self._decoder.embedding)])
        rotary = rotary_angles(arch, before + step, hidden.dtype)
        slots = {
            kind: entry[0].shape[1] for kind, entry in zip(arch.kinds, state["cache"], strict=True)
        }
        seen = {
            kind: visible_slots(
                slots[kind], first, step, before, state["shifts"][kind], arch.window_of(kind)
            )
            for kind, first in firsts.items()
        }
        run = jax.jit(stepping_block, static_argnums=0)
        cache = []
        blocks = self._blocks(by_id, adapters)
        for (plan, arrays), entry in zip(blocks, state["cache"], strict=True):
            kind, slot = plan.kind, firsts[plan.kind] + step
            hidden, *entry = run(plan, hidden, arrays, rotary[kind], *entry, slot, seen[kind])
            cache.append(tuple(entry))
        hidden = self._decoder.final_norm(by_id, hidden)
        matrix = self._head.matrix(by_id[id(self._head.variable)])
        logits = jnp.einsum("bd,vd->bv", hidden, matrix, preferred_element_type=jnp.float32)
        return tuple(cache), logits

    def _blocks(self, by_id: Values, adapters: Adapters) -> Iterator[tuple[BlockPlan, dict]]:
        """Plan and arrays of each block, with these adapters and no others."""
        for block, plan, own in zip(self._decoder.blocks, self._plans, adapters, strict=True):
            linears = tuple(
                (target, replace(linear, adapter=_AS_FACTORS if target in own else None))
                for target, linear in plan.linears
            )
            yield replace(plan, linears=linears), block_arrays(block, by_id) | {"adapters": own}

    def _by_id(self, values: list) -> Values:
        return {id(each): value for each, value in zip(self._variables, values, strict=True)}

    def _tile_rows(self, length: int) -> int:
        """Rows of so many tokens that are filled in together, whose largest tensors fit."""
        arch = self._decoder.architecture
        dtype = self._decoder.embedding.value.dtype
        largest = length * self._plans[0].linear("gate").outputs * dtype.itemsize
        if arch.attention_soft_cap or not uses_cudnn(arch.head_width, str(dtype)):
            largest = max(largest, 4 * arch.query_heads * length * length)
        tokens = TILE.get(current().kind, TILE_ELSEWHERE)
        return max(1, min(tokens // length, chunk_bytes() // largest))
