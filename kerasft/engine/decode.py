"""Decoding on both backends: greedily, by drawing, or with a beam.

The model's work, with its cache, is a backend's (`torch_generate.py`,
`jax_generate.py`); here is what happens on the host between its steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kerasft.engine.beam import Candidate, beam_search
from kerasft.engine.head import Head
from kerasft.engine.session import Generator, Session
from kerasft.models.families.base import Family
from kerasft.models.lora import Lora

LOOK_EVERY = 16
"""Steps between two looks at which rows have ended: the host waits for the device there."""

COMPACTED_FROM = 2
"""Rows to one that goes on from which the ended ones are dropped. A step costs less with
fewer rows; each dropping moves what is left of the cache."""


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
    drawn = np.empty(len(logits), np.int32)
    for row, values in enumerate(logits.astype(np.float64) / sampling.temperature):
        order = _likeliest_first(values, sampling)
        probability = np.exp(values[order] - values.max())
        probability /= probability.sum()
        # A token stays while the ones before it have not reached top_p: the likeliest
        # always stays.
        kept = np.cumsum(probability) - probability < sampling.top_p
        order, probability = order[kept], probability[kept]
        drawn[row] = random.choice(order, p=probability / probability.sum())
    return drawn


def _likeliest_first(values: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The top_k tokens, likeliest first; in any order where neither limit acts.

    Sorting a vocabulary of 262,144 took 40 ms, finding its likeliest 6 ms.
    """
    if 0 < sampling.top_k < len(values):
        order = np.argpartition(-values, sampling.top_k - 1)[: sampling.top_k]
        return order[np.argsort(-values[order], kind="stable")]
    if sampling.top_p < 1:
        return np.argsort(-values, kind="stable")
    return np.arange(len(values))


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
        self._compiled: dict[bool, Callable] = {}

    @cached_property
    def _generator(self) -> Generator:
        if keras.backend.backend() == "jax":
            from kerasft.engine.jax_generate import JaxGenerator as BackendGenerator
        else:
            from kerasft.engine.torch_generate import TorchGenerator as BackendGenerator
        return BackendGenerator(self._backbone, self._family, self._lora)

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
                rows that have ended.

        Returns:
            The new tokens of each row, without the stop token.
        """
        answers: list[list[int]] = [[] for _ in prompts]
        if not prompts or not max_new_tokens:
            return answers
        session = self._generator.start(prompts, max_new_tokens)
        if sampling is None or sampling.greedy:
            every = LOOK_EVERY if on_tokens is None else 1
            blocks = _greedy(session, max_new_tokens, stop_ids, every)
        else:
            blocks = _drawn(session, max_new_tokens, sampling)
        stops = frozenset(stop_ids)
        live = np.arange(len(prompts))
        ended = np.zeros(len(prompts), bool)
        for block in blocks:
            for column in block.T.tolist():
                fresh: list[int | None] = [None] * len(prompts)
                for row, token in zip(live.tolist(), column, strict=True):
                    if token in stops:
                        ended[row] = True
                    elif not ended[row]:
                        answers[row].append(token)
                        fresh[row] = token
                if on_tokens is not None:
                    on_tokens(fresh)
            if ended.all():
                break
            going = np.flatnonzero(~ended[live])
            if len(going) * COMPACTED_FROM <= len(live):
                session.reorder(going)
                live = live[going]
        return answers

    def candidates(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        width: int,
        max_new_tokens: int,
        stop_ids: Sequence[int],
    ) -> list[list[Candidate]]:
        """The likeliest answers to each prompt that a beam finds.

        Args:
            prompts: token ids a row, with their BOS; none empty.
            width: of the beam; as many answers are given at the most.
            max_new_tokens: new tokens an answer at the most.
            stop_ids: an answer ends before any of these.

        Returns:
            For each prompt its answers without the stop token, best first, each with
            its log-probability (see `beam_search`).
        """
        if not prompts:
            return []
        repeated = [prompt for prompt in prompts for _ in range(width)]
        session = self._generator.start(repeated, max_new_tokens)
        return beam_search(
            session,
            len(prompts),
            width=width,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            vocabulary=self._head.vocabulary,
        )

    def sequence_logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Logits at every position of full rows, by KerasHub's own forward pass.

        Args:
            token_ids: (rows, length) int32, no padding.

        Returns:
            (rows, length, vocabulary) float32; keep the rows few and short.
        """
        tokens = np.asarray(token_ids, np.int32)
        if keras.backend.backend() == "jax":
            found = self._compiled_sequence()([v.value for v in self._backbone.variables], tokens)
        else:
            import torch

            with torch.no_grad():
                found = self._sequence(keras.ops.convert_to_tensor(tokens))
        return keras.ops.convert_to_numpy(found)

    def _sequence(self, tokens: Any) -> Any:
        mask = keras.ops.ones_like(tokens)
        hidden = self._backbone({"token_ids": tokens, "padding_mask": mask}, training=False)
        return self._head.logits(hidden)

    def _compiled_sequence(self) -> Callable[[list, np.ndarray], Any]:
        # The adapter is switched by a Python flag, so each state has its own function.
        key = self._lora is None or self._lora.is_active
        if key not in self._compiled:
            import jax

            variables = self._backbone.variables

            def pure(values: list, tokens: Any) -> Any:
                mapping = list(zip(variables, values, strict=True))
                with keras.StatelessScope(state_mapping=mapping):
                    return self._sequence(tokens)

            self._compiled[key] = jax.jit(pure)
        return self._compiled[key]


def _greedy(
    session: Session, most: int, stop_ids: Sequence[int], every: int
) -> Iterator[np.ndarray]:
    """Blocks of the likeliest tokens, (rows, ≤ every) each, `most` columns in all."""
    taken = 0
    while taken < most:
        block = session.greedy(min(every, most - taken), stop_ids)
        yield block
        taken += block.shape[1]


def _drawn(session: Session, most: int, sampling: Sampling) -> Iterator[np.ndarray]:
    """Columns of drawn tokens, (rows, 1) each."""
    random = np.random.default_rng(sampling.seed)
    for _ in range(most):
        chosen = sample(session.logits(), sampling, random)
        session.advance(chosen)
        yield chosen[:, None]
