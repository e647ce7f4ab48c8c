"""Batches, and how answers are timed."""

from pathlib import Path

import pytest

from kerasft.bench.decoding import (
    DecodeWork,
    Decoding,
    Prompts,
    batches,
    measure,
    random_prompts,
    read_prompts,
    write_prompts,
)
from kerasft.bench.shapes import TINY

PROMPTS = [[5] * length for length in (3, 9, 1, 4, 2)]


def work(*batch_sizes: int) -> DecodeWork:
    return DecodeWork(
        family=TINY.family,
        config=dict(TINY.config),
        preset=None,
        adapter=None,
        folder=None,
        dtype="float32",
        batch_sizes=list(batch_sizes),
        max_new_tokens=4,
        stop_ids=[1],
    )


class Fake:
    """Answers with a prompt's length, and takes a second a batch and another one at first."""

    def __init__(self, *, fits: int = 100) -> None:
        self.now, self.fits = 0.0, fits
        self.seen: list[int] = []

    def answer(self, batch: Prompts) -> list[list[int]]:
        if len(batch) > self.fits:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while trying to allocate")
        self.now += 1.0 if len(batch) in self.seen else 2.0
        self.seen.append(len(batch))
        return [[len(prompt)] * 2 for prompt in batch]

    def decoding(self, *, fill: bool = True) -> Decoding:
        return Decoding(self.answer, fill, lambda: None, lambda: 7, ["a note"], {"torch": "2"})


def test_batches_have_rows_of_like_length_the_longest_first() -> None:
    found = list(batches(PROMPTS, 2, fill=True))
    assert [rows for rows, _ in found] == [[1, 3], [0, 4], [2]]
    assert [len(batch) for _, batch in found] == [2, 2, 2]
    assert found[2][1] == [PROMPTS[2], PROMPTS[2]]
    assert [len(batch) for _, batch in batches(PROMPTS, 2, fill=False)] == [2, 2, 1]


def test_a_batch_larger_than_all_rows_is_not_filled() -> None:
    ((rows, batch),) = batches(PROMPTS, 64, fill=True)
    assert len(rows) == len(batch) == 5


def test_the_fastest_second_pass_is_the_best() -> None:
    fake = Fake()
    found = measure(work(4, 2), PROMPTS, fake.decoding(), clock=lambda: fake.now)
    small, large = found["batches"]
    assert (small["batch_size"], large["batch_size"]) == (2, 4)
    # Three batches of two, one second more for the first; then two batches of four.
    assert (small["first_pass_seconds"], small["second_pass_seconds"]) == (4.0, 3.0)
    assert (large["first_pass_seconds"], large["second_pass_seconds"]) == (3.0, 2.0)
    assert found["best"] == large
    assert large["rows_per_second"] == 2.5 and large["new_tokens"] == 10
    assert large["new_tokens_per_second"] == 5.0 and large["peak_memory_bytes"] == 7
    # In the order of the prompts, copies left out.
    assert found["answers"] == [[len(prompt)] * 2 for prompt in PROMPTS]


def test_a_batch_that_does_not_fit_ends_the_search() -> None:
    fake = Fake(fits=2)
    found = measure(work(2, 3, 5), PROMPTS, fake.decoding(), clock=lambda: fake.now)
    assert [each["status"] for each in found["batches"]] == ["ok", "out of memory"]
    assert found["best"]["batch_size"] == 2
    nothing = measure(work(5), PROMPTS, Fake(fits=2).decoding())
    assert nothing["best"] is None and nothing["answers"] == []


def test_other_errors_are_errors() -> None:
    def answer(batch: Prompts) -> list[list[int]]:
        raise RuntimeError("shapes differ")

    decoding = Decoding(answer, False, lambda: None, lambda: 0, [], {})
    with pytest.raises(RuntimeError, match="shapes differ"):
        measure(work(2), PROMPTS, decoding)


def test_sizes_above_the_rows_are_one_size() -> None:
    found = measure(work(64, 256), PROMPTS, Fake().decoding())
    assert [each["batch_size"] for each in found["batches"]] == [5]


def test_prompts_and_work_travel_to_a_process(tmp_path: Path) -> None:
    write_prompts(tmp_path / "prompts.npz", PROMPTS)
    assert read_prompts(tmp_path / "prompts.npz") == PROMPTS
    work(64, 256).write(tmp_path / "work.json")
    assert DecodeWork.read(tmp_path / "work.json") == work(64, 256)


def test_random_prompts_are_reproducible_and_of_mixed_lengths() -> None:
    prompts = random_prompts(512, 50, 32)
    lengths = {len(prompt) for prompt in prompts}
    assert len(prompts) == 50 and min(lengths) >= 16 and max(lengths) <= 32 and len(lengths) > 8
    assert all(4 <= token < 512 for prompt in prompts for token in prompt)
    assert prompts == random_prompts(512, 50, 32)
