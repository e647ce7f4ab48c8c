"""Decoding with a key-value cache, on both backends, one token a step.

KerasHub's own `generate` computes logits at every prompt position when it fills its
cache (tokens × vocabulary) and gives nothing back before the end. Here the cache is
filled from hidden states alone and the caller sees each token as it comes.

Rows of different lengths are padded on the right and share one position: while the
position is inside a row's prompt its own token is kept, so a batch gives the same
tokens as its rows one by one, up to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasft.engine.head import Head
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora

LENGTH_STEP = 64
"""Prompts and caches are padded to multiples of this, so that few shapes are compiled."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The default, temperature 0, takes the likeliest.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens that together have this probability.
        seed: of the draws; rows of a batch draw from one stream.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


def sample(logits: np.ndarray, sampling: Sampling, random: np.random.Generator) -> np.ndarray:
    """Draw one token a row.

    Args:
        logits: (rows, vocabulary) float32.
        sampling: with a temperature above 0.
        random: advanced by one draw a row.

    Returns:
        (rows,) int32.
    """
    scaled = logits.astype(np.float64) / sampling.temperature
    drawn = np.empty(len(scaled), np.int32)
    for row, values in enumerate(scaled):
        order = np.argsort(-values, kind="stable")
        if sampling.top_k:
            order = order[: sampling.top_k]
        probability = np.exp(values[order] - values[order[0]])
        probability /= probability.sum()
        # A token stays while the ones before it have not reached top_p: the likeliest
        # always stays.
        kept = np.cumsum(probability) - probability < sampling.top_p
        order, probability = order[kept], probability[kept]
        drawn[row] = random.choice(order, p=probability / probability.sum())
    return drawn


class Decoder:
    """Generates from a causal LM with or without its adapter.

    Args:
        causal_lm: a KerasHub causal LM.
        family: its family.
        lora: the adapter on it, or None.
    """

    def __init__(self, causal_lm: keras.Model, family: Family, lora: Lora | None) -> None:
        self._backbone = causal_lm.backbone
        self._family = family
        self._lora = lora
        self._head = Head(causal_lm.backbone)
        self._scaled = family.name.startswith("gemma")
        self._compiled: dict[str, Callable] = {}

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        sampling: Sampling | None = None,
        on_tokens: Callable[[list[int | None]], None] | None = None,
    ) -> list[list[int]]:
        """Continue a batch of prompts.

        Args:
            prompts: token ids a row, with their BOS; none empty.
            max_new_tokens: new tokens a row at the most.
            stop_ids: a row ends before any of these.
            sampling: greedy where not given.
            on_tokens: called after each step with the new token of each row, None for
                rows that are still inside their prompt or that have ended.

        Returns:
            The new tokens of each row, without the stop token.
        """
        sampling = sampling or Sampling()
        random = np.random.default_rng(sampling.seed)
        lengths = np.array([len(prompt) for prompt in prompts])
        width = _round_up(int(lengths.max()) + max_new_tokens)
        tokens = np.zeros((len(prompts), width), np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        stops = np.array(sorted(set(stop_ids)), np.int32)
        answers: list[list[int]] = [[] for _ in prompts]
        ended = np.zeros(len(prompts), bool)
        filled = min(_round_up(int(lengths.max())), width)
        cache = self._call("fill", tokens[:, :filled], self._empty_cache(len(prompts), width))
        for position in range(int(lengths.min()), int(lengths.max()) + max_new_tokens):
            column = tokens[:, position - 1 : position]
            if sampling.greedy:
                chosen, cache = self._call("greedy", column, cache, position - 1)
                chosen = keras.ops.convert_to_numpy(chosen)
            else:
                logits, cache = self._call("logits", column, cache, position - 1)
                chosen = sample(keras.ops.convert_to_numpy(logits), sampling, random)
            inside = position < lengths
            tokens[:, position] = np.where(inside, tokens[:, position], chosen)
            stopped = ~inside & np.isin(chosen, stops)
            full = ~inside & (position - lengths >= max_new_tokens)
            fresh = ~inside & ~ended & ~stopped & ~full
            for row in np.flatnonzero(fresh):
                answers[row].append(int(chosen[row]))
            ended |= stopped | full
            if on_tokens is not None:
                on_tokens([int(chosen[row]) if fresh[row] else None for row in range(len(prompts))])
            if ended.all():
                break
        return answers

    def sequence_logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Logits at every position of full rows.

        Args:
            token_ids: (rows, length) int32, no padding.

        Returns:
            (rows, length, vocabulary) float32; keep the rows few and short.
        """
        return keras.ops.convert_to_numpy(self._call("sequence", np.asarray(token_ids, np.int32)))

    def _empty_cache(self, rows: int, length: int) -> Any:
        backbone = self._backbone
        width = getattr(backbone, "head_dim", None) or (
            backbone.hidden_dim // backbone.num_query_heads
        )
        dtype = backbone.compute_dtype
        entry = (length, backbone.num_key_value_heads, width)
        # Gemma 3's blocks take a (key, value) pair, the others one stacked tensor. Each
        # buffer is its own: on JAX they are donated, which one buffer can be only once.
        if self._family.name == "gemma3":
            pair = [keras.ops.zeros((rows, *entry), dtype) for _ in range(2 * backbone.num_layers)]
            return tuple(zip(pair[::2], pair[1::2], strict=True))
        return tuple(keras.ops.zeros((rows, 2, *entry), dtype) for _ in range(backbone.num_layers))

    def _hidden(self, tokens: Any, cache: Sequence[Any], index: Any) -> tuple[Any, tuple]:
        """Hidden states of tokens that start at a position, and the cache with them in it."""
        x = self._backbone.token_embedding(tokens)
        if self._scaled:
            x = x * keras.ops.cast(keras.ops.sqrt(self._backbone.hidden_dim), x.dtype)
        prefix = "" if self._scaled else "self_attention_"
        updated = []
        for block, entry in zip(self._family.blocks(self._backbone), cache, strict=True):
            arguments = {f"{prefix}cache": entry, f"{prefix}cache_update_index": index}
            x, entry = block(x, **arguments)
            updated.append(entry)
        return self._backbone.layer_norm(x), tuple(updated)

    def _fill(self, tokens: Any, cache: Any) -> Any:
        return self._hidden(tokens, cache, 0)[1]

    def _logits(self, column: Any, cache: Any, index: Any) -> tuple[Any, Any]:
        hidden, cache = self._hidden(column, cache, index)
        return self._head.logits(hidden[:, 0]), cache

    def _greedy(self, column: Any, cache: Any, index: Any) -> tuple[Any, Any]:
        logits, cache = self._logits(column, cache, index)
        return keras.ops.argmax(logits, axis=-1), cache

    def _sequence(self, tokens: Any) -> Any:
        mask = keras.ops.ones_like(tokens)
        hidden = self._backbone({"token_ids": tokens, "padding_mask": mask}, training=False)
        return self._head.logits(hidden)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Run one of the functions above without gradients, compiled on JAX."""
        if keras.backend.backend() == "jax":
            return self._jax_call(name, *arguments)
        import torch

        moved = [
            keras.ops.convert_to_tensor(argument) if isinstance(argument, np.ndarray) else argument
            for argument in arguments
        ]
        with torch.no_grad():
            return getattr(self, f"_{name}")(*moved)

    def _jax_call(self, name: str, *arguments: Any) -> Any:
        # The adapter is switched by a Python flag, so each state has its own function.
        key = f"{name}/{self._lora is None or self._lora.is_active}"
        variables = self._backbone.variables
        if key not in self._compiled:
            import jax

            def pure(values: list, *inner: Any) -> Any:
                mapping = list(zip(variables, values, strict=True))
                with keras.StatelessScope(state_mapping=mapping):
                    return getattr(self, f"_{name}")(*inner)

            donated = {"fill": 2, "logits": 2, "greedy": 2}.get(name)
            self._compiled[key] = jax.jit(
                pure, donate_argnums=() if donated is None else (donated,)
            )
        return self._compiled[key]([variable.value for variable in variables], *arguments)


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP
