"""What a comparison found: compare.json, as dataclasses.

A contender is one engine on one backend (keras-torch, keras-jax, hf, trl), with one run a
seed. Everything here is measured or read from the run folders; means and spreads over the
seeds are computed from it by `kerasft.compare.statistics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasft.errors import RunError
from kerasft.records import plain, read_json, write_json

FILE = "compare.json"

CHECKS = (
    "token ids",
    "base weights",
    "trained parameters",
    "starting A and B",
    "initial logits",
    "initial loss",
    "first gradient of A",
    "first gradient of B",
    "first losses",
)
"""What the parity gate looks at, in the order in which it is told."""


@dataclass(frozen=True)
class Score:
    """One measure of one evaluation of one run.

    Attributes:
        evaluation: the name of the evaluation's file, without its ending.
        metric: as the evaluation has it, such as `execution_accuracy`.
        kind: `rate` (a share of rows, higher is better as a rule), `mean` or `perplexity`.
        count: rows that were right, for a rate; None otherwise.
        total: rows that were judged.
        value, low, high: with its 95 % interval (`kerasft.tasks.intervals`).
    """

    evaluation: str
    metric: str
    kind: str
    count: int | None
    total: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RunFacts:
    """The numbers of one run.

    Attributes:
        run: name of its folder, without the path.
        seed: `train.seed`.
        status: of run.json: finished, stopped, failed or running (killed); or `not run`, for
            one that could not be started.
        why: where it is not finished.
        first_step_seconds: from the start of training to the end of its first step.
        step_seconds: median of the steps after the first.
        tokens_per_second, supervised_tokens_per_second: medians over the steps after the
            first; tokens that the loss covers for the second.
        training_seconds: loading and validation left out.
        whole_seconds: from the rows' being ready to the last file; None where the run was
            interrupted, or where its record does not tell.
        peak_memory_bytes: of the device, or of the process on a CPU.
        adapter_bytes, run_bytes: of the files.
        steps, tokens, supervised_tokens: done.
        losses: (step, loss), every step up to `kerasft.compare.facts.MOST_POINTS`, else thinned.
        validation_losses: (step, loss); step 0 is before training.
        scores: of the tuned model.

    Every number is None where the run did not come so far.
    """

    run: str
    seed: int
    status: str
    why: str
    first_step_seconds: float | None
    step_seconds: float | None
    tokens_per_second: float | None
    supervised_tokens_per_second: float | None
    training_seconds: float | None
    peak_memory_bytes: int | None
    adapter_bytes: int | None
    run_bytes: int | None
    steps: int | None
    tokens: int | None
    supervised_tokens: int | None
    whole_seconds: float | None = None
    losses: Sequence[tuple[int, float]] = ()
    validation_losses: Sequence[tuple[int, float]] = ()
    scores: Sequence[Score] = ()


@dataclass(frozen=True)
class Contender:
    """An engine, with its runs.

    Attributes:
        name: keras-torch, keras-jax, hf, trl, or the run's name.
        engine, backend, layout, device, dtype, versions: of its runs; empty where none began.
        device: in words, such as `gpu NVIDIA H100 80GB HBM3`.
        trained_parameters: None where it is not known.
        runs: one a seed.
        ranked: whether its numbers may be held against those of the other ranked ones.
        why_not: where they may not, a sentence a reason.
    """

    name: str
    engine: str
    backend: str
    layout: str
    device: str
    dtype: str
    versions: Mapping[str, str]
    trained_parameters: int | None
    runs: Sequence[RunFacts]
    ranked: bool
    why_not: Sequence[str] = ()


@dataclass(frozen=True)
class Check:
    """One check of the parity gate: a contender against the reference.

    Attributes:
        contender: its name.
        what: one of `CHECKS`.
        value, bound: what was measured, the worst over the seeds, and what it may be at the
            most; None where the check is of equality (hashes, names and shapes).
        passed: False too where it could not be made.
        seeds: that it was made on.
        detail: in a sentence.
    """

    contender: str
    what: str
    value: float | None
    bound: float | None
    passed: bool
    seeds: Sequence[int]
    detail: str


@dataclass(frozen=True)
class PairedTest:
    """Two contenders on the same questions, by McNemar's exact test.

    Where there are several seeds, each has a test of its own, and one pools their pairs, each
    question paired within its seed; `total` is then questions times seeds. The answers of
    several seeds to one question are alike, so that the pooled test finds differences more
    easily than as many different questions would.

    Attributes:
        evaluation, metric: what was judged.
        a, b: contenders' names.
        only_a, only_b: answers that one of them alone has right.
        total: pairs that both were judged on.
        seed: of the runs; None for the pool of `seeds`.
        seeds: how many there are in it; 1 for one seed.
        p_value: two-sided; None without pairs.
    """

    evaluation: str
    metric: str
    a: str
    b: str
    only_a: int
    only_b: int
    total: int
    seed: int | None
    seeds: int
    p_value: float | None


@dataclass(frozen=True)
class Answer:
    """A contender's answer to one question: whether it is right (None: not judged), and why."""

    text: str
    right: bool | None
    why: str


@dataclass(frozen=True)
class Differing:
    """A question that not all contenders have right, or wrong, in the runs of one seed.

    Attributes:
        evaluation, metric, seed: where it was asked.
        question, context, gold: of the row; the context may be empty.
        answers: by contender.
    """

    evaluation: str
    metric: str
    seed: int
    question: str
    context: str
    gold: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Comparison:
    """Everything that compare.json holds.

    Attributes:
        title: for people.
        created: UTC, ISO 8601.
        kerasft_version: that compared.
        commands: lines that do it all again.
        recipe_toml: the reference's resolved recipe.
        differences: settings, devices and types in which runs differ beyond engine and seed.
        notes: what a reader should know of how it was done.
        ranked: whether two contenders at least may be held against each other; those are the
            ones whose own `ranked` is true.
        why_not: where none may, or some may not: a sentence a reason.
        kind: `engines`; `layouts` where the runs differ in `lora.layout`, which is never ranked.
        reference: name of the contender that the others are checked and measured against.
        contenders: in the order in which they were asked for.
        gate: one check after the other, contender by contender; empty where it was left out.
        tests: pair by pair, the reference first.
        examples: the first of those that differ; `differing_total` counts all of them.
        base_scores: of the untouched base, where it was scored.
        price_per_hour: of the device, in whatever currency; None where not given.
    """

    title: str
    created: str
    kerasft_version: str
    commands: Sequence[str]
    recipe_toml: str
    differences: Sequence[str]
    notes: Sequence[str]
    ranked: bool
    why_not: Sequence[str]
    kind: str
    reference: str
    contenders: Sequence[Contender]
    gate: Sequence[Check]
    tests: Sequence[PairedTest]
    examples: Sequence[Differing]
    differing_total: int
    base_scores: Sequence[Score]
    price_per_hour: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values: numbers that are not finite are None."""
        return plain(asdict(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Comparison":
        """What `to_json` gave, with its types again; the schema version may stand beside it.

        Raises:
            RunError: it is not a comparison.
        """
        from pydantic import TypeAdapter, ValidationError

        fields = {name: each for name, each in value.items() if name != "schema_version"}
        try:
            return TypeAdapter(cls).validate_python(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RunError(f"this is no comparison of kerasft: {place}: {first['msg']}") from error

    def write(self, folder: Path) -> Path:
        """Write compare.json into a folder, aside and renamed.

        Raises:
            RunError: it cannot be written.
        """
        write_json(folder / FILE, self.to_json())
        return folder / FILE

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """The comparison of a folder.

        Raises:
            RunError: there is none, or it is damaged.
        """
        return cls.from_json(read_json(folder / FILE))
