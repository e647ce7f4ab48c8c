"""The proof that a folder is the model that was trained.

Always made: every stored tensor against base + delta (`tensor_proof`), the folder's
settings, and what its tokenizer makes of texts. Made where a forward pass in float32
fits into memory: the folder, loaded in a fresh process as its users load it, gives the
live model's logits (`proof`).
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ExportError, collected
from kerasft.export.asking import Ask, answered, ask_process, put
from kerasft.export.formats import Format, format_of
from kerasft.export.hf import write_hf
from kerasft.export.live_answers import LiveAnswers, answer_live
from kerasft.export.manifest import manifest
from kerasft.export.probes import Probes, make_probes
from kerasft.export.proof import Bound, Comparison, bound_for, compare_all, judge
from kerasft.export.room import needed_bytes, shortage
from kerasft.export.stored import Promise
from kerasft.export.tensor_proof import TensorComparison, compare_tensors, judge_training
from kerasft.export.views import attention_window, untouched
from kerasft.export.words import compare_greedy, compare_words, loading_faults
from kerasft.records import write_json
from kerasft.versions import versions

if TYPE_CHECKING:
    from kerasft.export.stored import Stored
    from kerasft.export.views import ModelView, WeightsView

FILE = "verification.json"
PASSED, FAILED, NOT_VERIFIED = "passed", "failed", "not_verified"
LOGITS, TENSORS = "logits and tensors", "tensors"
COMPUTE_DTYPE = "float32"


@dataclass(frozen=True)
class Verification:
    """The result of a proof; `verification.json` is this as JSON.

    Attributes:
        status: "passed", "failed", or "not_verified" when a package for it is missing.
        format: of the folder.
        method: "logits and tensors", or "tensors" where no forward pass was made.
        faults: every way in which the folder is not the trained model.
        note: what was not verified and why, or what the folder gives up on purpose.
        base_id, fingerprint: of the base model.
        backend: that computed the live logits.
        weight_dtype: the coarsest type of the folder's weights.
        compute_dtype: in which both sides computed.
        bound_dtype: the type that sets the bound.
        bound: how far apart the logits may be.
        tensors: the measured tensors; None where the folder could not be read.
        comparison: the measured logits; None without a forward pass.
        greedy: prompts, how many continuations are equal, and each text of both.
        tokenizer: texts compared and how many have equal ids.
        probes: how many rows, their longest, the attention window.
        extra: what the format's reader measured besides.
        files: name → bytes and SHA-256 of what was proved; empty unless it passed.
        versions: of every package that took part.
    """

    status: str
    format: str
    method: str
    faults: list[str]
    note: str
    base_id: str
    fingerprint: str
    backend: str
    weight_dtype: str
    compute_dtype: str
    bound_dtype: str
    bound: Bound
    tensors: TensorComparison | None = None
    comparison: Comparison | None = None
    greedy: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, int] = field(default_factory=dict)
    probes: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """Raises ExportError with every fault, unless there is none."""
        if self.faults:
            raise ExportError(collected("The exported model is not the trained one", self.faults))


def verify_folder(
    weights: WeightsView,
    folder: Path,
    *,
    live: Callable[[], ModelView] | None,
    backend: str = "torch",
    ask: Ask = ask_process,
) -> Verification:
    """Hold a folder against what was trained and write `verification.json` into it.

    Args:
        weights: the base and its adapter.
        folder: an export, ours or one made elsewhere.
        live: builds the live model, which must compute in float32; it is freed before
            the folder is loaded. None for a proof by tensors alone.
        backend: of the live model, and of a reader that uses Keras.
        ask: puts the probes to the folder's reader.

    Raises:
        ExportError: the folder is of no known format, or holds no readable weights. A
            proof that fails is not raised but returned: see `Verification.require`.
    """
    form = format_of(folder)
    stored: Stored = form.load("stored")(folder, weights)
    promise: Promise = form.load("promise")(folder, weights) if form.promise else Promise(weights)
    bound_dtype, bound = bound_for(stored.dtype, COMPUTE_DTYPE)
    bound = promise.bound or bound
    tensors, faults = compare_tensors(promise.weights, stored)
    faults = [*stored.faults(), *faults]
    proof = _Proof(weights, form, folder, backend, bound, trained=tensors.adapted > 0)
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    reason = _not_installed(missing) if missing else proof.make(live, ask)
    faults += proof.faults
    if proof.comparison is None:
        faults += judge_training(tensors)
    passed = NOT_VERIFIED if missing else PASSED
    verification = Verification(
        status=FAILED if faults else passed,
        format=form.name,
        method=TENSORS if proof.comparison is None else LOGITS,
        faults=faults,
        note=" ".join(filter(None, [promise.note, reason])),
        base_id=weights.base_id,
        fingerprint=weights.fingerprint,
        backend=backend,
        weight_dtype=stored.dtype,
        compute_dtype=COMPUTE_DTYPE,
        bound_dtype=bound_dtype,
        bound=bound,
        tensors=tensors,
        comparison=proof.comparison,
        greedy=proof.greedy,
        tokenizer=proof.tokenizer,
        probes=proof.summary,
        extra=proof.extra,
        files={} if faults or missing else manifest(folder),
        versions=versions() | proof.versions,
    )
    write_json(folder / FILE, asdict(verification))
    return verification


@dataclass
class _Proof:
    """Asks both sides and gathers what their answers show."""

    weights: WeightsView
    form: Format
    folder: Path
    backend: str
    bound: Bound
    trained: bool
    faults: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    greedy: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, int] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def make(self, live: Callable[[], ModelView] | None, ask: Ask) -> str:
        """Makes it; gives the reason why no logits were compared, or nothing."""
        probes = _probes(self.weights)
        self.summary = _summary(probes)
        reason = self._why_tensors_alone(live, probes)
        # The live model is gone before the reader starts, so that only one is in memory.
        answers = answer_live(live(), probes) if live and not reason else None
        with tempfile.TemporaryDirectory(prefix="kerasft-proof-") as scratch:
            self._ask(probes, answers, ask, Path(scratch))
        return reason

    def _why_tensors_alone(self, live: Callable[[], ModelView] | None, probes: Probes) -> str:
        if live is None:
            why = "no live model was asked for"
        else:
            weights = self.weights
            logit_bytes = 4 * probes.longest * weights.config["vocabulary_size"]
            needed = needed_bytes(weights.family, weights.config, logit_bytes)
            why = shortage(needed, self.backend)
        return f"No logits were compared: {why}. Every tensor was." if why else ""

    def _ask(self, probes: Probes, answers: LiveAnswers | None, ask: Ask, scratch: Path) -> None:
        base = None
        if self.form.needs_base and answers:
            base = scratch / "base"
            base.mkdir()
            write_hf(untouched(self.weights), base, dtype=self.weights.base_dtype)
        put(
            scratch,
            probes,
            logits=answers is not None,
            compute_dtype=COMPUTE_DTYPE,
            backend=self.backend,
            base=base,
        )
        failure = ask(self.form, self.folder, scratch)
        if failure:
            self.faults.append(f"{self.form.title} cannot be loaded from the folder: {failure}")
            return
        answer = answered(scratch)
        self.extra, self.versions = answer.get("extra", {}), answer["versions"]
        self.tokenizer, faults = compare_words(self.weights, self.form, probes, answer)
        faults += [*loading_faults(answer), *answer.get("faults", [])]
        if answers:
            with np.load(scratch / "logits.npz") as logits:
                exported = (logits[f"logits_{index}"] for index in range(len(probes.rows)))
                self.comparison = compare_all(
                    zip(answers.live, answers.base, exported, strict=True)
                )
            faults = judge(self.comparison, self.bound, trained=self.trained) + faults
            self.greedy = compare_greedy(self.weights, answers.continuations, answer)
        self.faults += faults


def _not_installed(missing: list[str]) -> str:
    return (
        f"Logits, tokenizer and stop tokens were not compared, as {' and '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} not installed. Every tensor was. "
        "pip install 'kerasft[hf]', then: kerasft export RUN --verify DIR"
    )


def _probes(weights: WeightsView) -> Probes:
    return make_probes(
        weights.tokenizer.encode,
        vocabulary=weights.config["vocabulary_size"],
        bos_id=weights.tokenizer.bos_id,
        window=attention_window(weights),
        max_positions=weights.family.max_positions(weights.config),
    )


def _summary(probes: Probes) -> dict[str, Any]:
    return {
        "rows": len(probes.rows),
        "positions": sum(len(positions) for positions in probes.positions),
        "longest": probes.longest,
        "attention_window": probes.window,
        "past_window": probes.past_window,
    }
