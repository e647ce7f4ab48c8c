"""What every decoder is given, and how its answers are timed."""

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.bench.work import FIRST_TOKEN, SEED, TOKENS
from kerasft.models.families import FAMILIES, Family
from kerasft.out_of_memory import is_out_of_memory

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class DecodeWork:
    """Prompts to answer greedily. Every field is a JSON value, so that it travels to a process.

    Attributes:
        family, config: the decoder, as its family has it.
        preset: of the real weights; None for random ones.
        adapter: folder of an adapter on them, or None.
        folder: a Hugging Face folder with the same weights and the adapter merged, where one
            was needed.
        dtype: of the weights.
        batch_sizes: rows that are decoded together; each is tried.
        max_new_tokens: tokens an answer at the most.
        stop_ids: an answer ends before any of these.
    """

    family: str
    config: Mapping[str, Any]
    preset: str | None
    adapter: str | None
    folder: str | None
    dtype: str
    batch_sizes: Sequence[int]
    max_new_tokens: int
    stop_ids: Sequence[int]

    @property
    def table(self) -> Family:
        return FAMILIES[self.family]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "DecodeWork":
        return cls(**json.loads(path.read_text("utf-8")))


def random_prompts(vocabulary: int, count: int, longest: int) -> list[list[int]]:
    """Prompts of random tokens, from half of `longest` to all of it."""
    random = np.random.default_rng(SEED)
    high = min(vocabulary, FIRST_TOKEN + TOKENS)
    lengths = random.integers(max(1, longest // 2), longest + 1, count)
    return [random.integers(FIRST_TOKEN, high, length).tolist() for length in lengths]


def write_prompts(path: Path, prompts: Prompts) -> None:
    """Prompts as one .npz of flat arrays."""
    np.savez(
        path,
        token_ids=np.concatenate([np.asarray(prompt, np.int32) for prompt in prompts]),
        lengths=np.asarray([len(prompt) for prompt in prompts], np.int32),
    )


def read_prompts(path: Path) -> list[list[int]]:
    """What `write_prompts` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        rows = np.split(stored["token_ids"], np.cumsum(stored["lengths"])[:-1])
        return [row.tolist() for row in rows]


def batches(prompts: Prompts, size: int, *, fill: bool) -> Iterator[tuple[list[int], Prompts]]:
    """Which rows a batch has and their prompts: rows of like length together, the longest first.

    With `fill` the last batch is filled up with copies of its last row, so that all have
    one size.
    """
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batch = [prompts[row] for row in rows]
        if fill:
            batch += batch[-1:] * (min(size, len(order)) - len(rows))
        yield rows, batch


@dataclass(frozen=True)
class Decoding:
    """One way to decode.

    Attributes:
        answer: prompts of a batch → their new tokens, without the stop token. It returns
            when they are on the host.
        fill: whether all batches are to have one size.
        reset_peak: forgets the peak of memory, where the device can.
        peak: bytes.
        notes: what else is to be known.
        versions: of what was used.
    """

    answer: Callable[[Prompts], list[list[int]]]
    fill: bool
    reset_peak: Callable[[], None]
    peak: Callable[[], int]
    notes: Sequence[str]
    versions: Mapping[str, str]


def measure(
    work: DecodeWork,
    prompts: Prompts,
    decoding: Decoding,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Answer all prompts twice with each batch size; the second pass has compiled all.

    Sizes ascend, since not every device can forget its peak. One that does not fit is
    noted, and no larger one is tried.

    Returns:
        `batches`, one entry a size; `best`, the entry with the shortest second pass, or None
        where none fitted; `answers` of that one, in the order of the prompts; `notes`;
        `versions`.
    """
    entries: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    kept: list[list[int]] = []

    def timed(size: int) -> tuple[float, list[list[int]]]:
        found: list[list[int]] = [[] for _ in prompts]
        began = clock()
        for rows, batch in batches(prompts, size, fill=decoding.fill):
            for row, answer in zip(rows, decoding.answer(batch), strict=False):
                found[row] = answer
        return clock() - began, found

    for size in sorted({min(size, len(prompts)) for size in work.batch_sizes}):
        gc.collect()
        decoding.reset_peak()
        try:
            cold, _ = timed(size)
            warm, answers = timed(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            entries.append({"batch_size": size, "status": "out of memory"})
            break
        new_tokens = sum(map(len, answers))
        entry = {
            "batch_size": size,
            "status": "ok",
            "first_pass_seconds": cold,
            "second_pass_seconds": warm,
            "rows_per_second": len(prompts) / warm,
            "new_tokens": new_tokens,
            "new_tokens_per_second": new_tokens / warm,
            "peak_memory_bytes": decoding.peak(),
        }
        entries.append(entry)
        if best is None or warm < best["second_pass_seconds"]:
            best, kept = entry, answers
    return {
        "batches": entries,
        "best": best,
        "answers": kept,
        "notes": list(decoding.notes),
        "versions": dict(decoding.versions),
    }
