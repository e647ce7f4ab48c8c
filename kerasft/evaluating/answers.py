"""Greedy answers to rows, and further candidates, kept batch by batch."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.evaluating.journal import Journal
from kerasft.recipe import EvalSettings

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        texts: one a row.
        resumed: how many of them an earlier, stopped evaluation had given.
        seconds: of decoding them all, whenever that was.
    """

    texts: list[str]
    resumed: int
    seconds: float

    def rate(self) -> dict[str, float | int | None]:
        """For the results: `rows`, `resumed`, `seconds` and `rows_per_second`."""
        return {
            "rows": len(self.texts),
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "rows_per_second": len(self.texts) / self.seconds if self.seconds else None,
        }


def answer(
    model: "LoadedModel",
    rows: Sequence[Mapping[str, Any]],
    prompts: Sequence[Sequence[int]],
    settings: EvalSettings,
    journal: Journal,
    what: str,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Answers:
    """One greedy answer a row, those of the journal taken as they are.

    Args:
        model: with its adapter switched as it should answer.
        rows: what is asked.
        prompts: token ids of their prompts.
        settings: `max_new_tokens` and `batch_size` are read.
        journal: where answers are kept.
        what: their name in it.
        on_rows: told how many rows are answered.
    """
    from kerasft.generation import answer_rows

    def work(chosen: list[int]) -> list[str]:
        return answer_rows(
            model,
            [rows[index] for index in chosen],
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
        )

    resumed = len(journal.known(what))
    found = _in_batches(
        prompts, range(len(rows)), settings.batch_size, journal, what, work, on_rows
    )
    texts = [found[index] for index in range(len(rows))]
    return Answers(texts, resumed, journal.seconds(what))


def candidates(
    model: "LoadedModel",
    prompts: Sequence[Sequence[int]],
    chosen: Sequence[int],
    width: int,
    settings: EvalSettings,
    journal: Journal,
    what: str,
    on_rows: Callable[[int], None] = lambda done: None,
) -> dict[int, list[str]]:
    """The likeliest answers of a beam to some of the rows, the best first.

    Args:
        prompts: token ids of the prompts of all rows.
        chosen: the rows that are asked.
        width: of the beam.
        model, settings, journal, what, on_rows: as for `answer`.
    """

    def work(batch: list[int]) -> list[list[str]]:
        beams = model.decoder.candidates(
            [prompts[index] for index in batch],
            width=width,
            max_new_tokens=settings.max_new_tokens,
            stop_ids=model.stop_ids,
        )
        return [[model.tokenizer.decode(ids).strip() for ids, _ in beam] for beam in beams]

    size = max(1, settings.batch_size // width)
    return _in_batches(prompts, chosen, size, journal, what, work, on_rows)


def _in_batches(
    prompts: Sequence[Sequence[int]],
    chosen: Sequence[int],
    size: int,
    journal: Journal,
    what: str,
    work: Callable[[list[int]], list[Any]],
    on_rows: Callable[[int], None],
) -> dict[int, Any]:
    """Values of rows, worked out by batches that are the same however often it was stopped."""
    # The longest first, as in `generation.answer_rows`: one cache then serves all batches.
    order = sorted(chosen, key=lambda index: (-len(prompts[index]), index))
    found = {row: value for row, value in journal.known(what).items() if row in set(order)}
    on_rows(len(found))
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        if all(row in found for row in batch):
            continue
        began = time.monotonic()
        values = work(batch)
        journal.add(what, dict(zip(batch, values, strict=True)), time.monotonic() - began)
        found |= dict(zip(batch, values, strict=True))
        on_rows(len(found))
    return found


def asked(
    model: "LoadedModel",
    prompts: Sequence[Sequence[int]],
    settings: EvalSettings,
    run_by: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that greedy answers depend on, as short texts and numbers.

    Args:
        model: whose weights, adapter and stop tokens are taken.
        prompts: token ids of all prompts, which stand for rows, template and tokenizer.
        settings: `max_new_tokens` and `batch_size` are taken; rows that are decoded together
            round alike.
        run_by: backend, device and versions.
    """
    digest = hashlib.sha256()
    for ids in prompts:
        digest.update(np.asarray([len(ids), *ids], np.int32).tobytes())
    return {
        "base": model.fingerprint,
        "adapter": adapter_hash(model),
        "dtype": model.base_dtype,
        "prompts": digest.hexdigest(),
        "rows": len(prompts),
        "max_new_tokens": settings.max_new_tokens,
        "batch_size": settings.batch_size,
        "stop_ids": sorted(model.stop_ids),
        **run_by,
    }


def adapter_hash(model: "LoadedModel") -> str | None:
    """SHA-256 over names and float32 values of the adapter; None for a bare base."""
    if model.lora is None:
        return None
    digest = hashlib.sha256()
    for name, values in sorted(model.lora.tensors().items()):
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()
