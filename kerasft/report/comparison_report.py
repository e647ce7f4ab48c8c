"""What the report of a comparison says."""

from collections.abc import Iterator, Sequence

from kerasft.compare.result import Comparison, Contender
from kerasft.compare.statistics import (
    ahead_from,
    compiled_apart,
    facts_spread,
    pace,
    score_spread,
)
from kerasft.report.answers import cut, in_words
from kerasft.report.comparison_plots import (
    difference_plot,
    loss_plots,
    score_names,
    score_plots,
    speed_plots,
)
from kerasft.report.comparison_tables import (
    first_measures,
    gate_details,
    gate_table,
    numbers_table,
    ratio_table,
    runs_table,
    score_table,
    tests_table,
    versions_table,
)
from kerasft.report.document import (
    Block,
    Code,
    Document,
    Example,
    Notice,
    Paragraph,
    Plots,
    Section,
    Text,
)
from kerasft.report.public import public_command, public_sentence
from kerasft.report.scores import p_value, readable
from kerasft.report.words import count, duration, gibibytes

OPEN_EXAMPLES = 10
"""Questions on which contenders differ that are not folded."""


def comparison_document(comparison: Comparison) -> Document:
    """The report of a comparison: the gate first, and no ranking where it did not pass."""
    contenders = in_order(comparison)
    numbers: list[Block] = [numbers_table(comparison, contenders)]
    ratios = ratio_table(comparison, contenders)
    numbers += [ratios] if ratios else []
    numbers.append(_measured(contenders))
    speeds = speed_plots(contenders)
    numbers += [Plots(speeds)] if speeds else []
    parted = difference_plot(comparison, contenders)
    losses = [*loss_plots(contenders), *([parted] if parted else [])]
    blocks: list[Block] = [
        banner(comparison),
        *([Notice("plain", "How it was done", comparison.notes)] if comparison.notes else []),
        _gate(comparison),
        Section("Speed, memory and size", numbers),
        Section(
            "Loss", [Plots(losses)] if losses else [Paragraph("No run came to its first step.")]
        ),
        _scores(comparison, contenders),
        *_examples(comparison),
        Section("Every run", [runs_table(contenders)], folded=True),
        _settings(comparison, contenders),
        Section(
            "Do it again",
            [Code("\n".join(public_command(line) for line in comparison.commands), "sh")],
        ),
    ]
    return Document(
        title=comparison.title,
        verdict=verdict(comparison, contenders),
        blocks=blocks,
        foot=f"Written by kerasft {comparison.kerasft_version}".rstrip()
        + f" from compare.json of {comparison.created}.",
    )


def in_order(comparison: Comparison) -> list[Contender]:
    """Those that may be held against each other first."""
    return sorted(comparison.contenders, key=lambda each: not each.ranked)


def verdict(comparison: Comparison, contenders: Sequence[Contender]) -> str:
    """What came out, in plain words; without a ranking where there must be none."""
    names = ", ".join(contender.name for contender in contenders)
    several = any(len(contender.runs) > 1 for contender in contenders)
    how = ", each number a mean over its seeds" if several else ""
    text = f"{count(len(contenders), 'contender')} side by side{how}: {names}."
    if comparison.ranked:
        text += _speeds(contenders)
    elif comparison.kind == "layouts":
        text += " Their LoRA layouts differ, so this compares layouts and ranks nothing."
    else:
        text += " Their numbers are not ranked."
    return text + _quality(comparison, contenders)


def _speeds(contenders: Sequence[Contender]) -> str:
    ranked = [contender for contender in contenders if contender.ranked]
    found = [(each.name, facts_spread(each, "step_seconds")) for each in ranked]
    timed = sorted((spread.mean, name) for name, spread in found if spread is not None)
    if len(timed) < 2:
        return ""
    (fast, first), *others = timed
    beside = ", ".join(
        f"{1000 * seconds:.4g} ms with {name} ({seconds / fast:.2f} times as long)"
        for seconds, name in others
    )
    text = f" A training step takes {1000 * fast:.4g} ms with {first}, {beside}."
    text += "".join(_in_all(own, which) for which, own in compiled_apart(ranked))
    memory = [(each.name, facts_spread(each, "peak_memory_bytes")) for each in ranked]
    shown = ", ".join(f"{gibibytes(each.mean)} ({name})" for name, each in memory if each)
    return f"{text} Peak memory: {shown}." if shown else text


def _in_all(ranked: Sequence[Contender], which: str) -> str:
    """Whole training times, and when the least time a step makes up for a later first one.

    Args:
        ranked: contenders with the runs that are meant.
        which: seeds those are of; "" for all.
    """
    found = [(each, facts_spread(each, "training_seconds"), pace(each)) for each in ranked]
    timed = [(spread.mean, each.name, own) for each, spread, own in found if spread and own]
    if len(timed) < 2:
        return ""
    timed.sort(key=lambda each: each[0])
    steps = {run.steps for each in ranked for run in each.runs}
    what = f"All {count(steps.pop(), 'step')}" if len(steps) == 1 else "All steps"
    shown = ", ".join(f"{duration(seconds)} with {name}" for seconds, name, _ in timed)
    whose = f" of {which}" if which else ""
    text = f" {what}{whose} took {shown}, the first one included."
    least, name, own = min(timed, key=lambda each: each[2].step)
    turns = [ahead_from(own, other) for seconds, _, other in timed if seconds < least]
    last = max((step for step in turns if step is not None), default=None)
    if last is None:
        return text
    return f"{text} At these rates {name} would be ahead of all in runs of {last:,} steps and more."


def _measured(contenders: Sequence[Contender]) -> Notice:
    """What the numbers hold and what they leave out."""
    lines = [
        "Times of a step and rates are medians over the steps after the first.",
        "The first step is timed from the start of training, with all that is compiled in it. "
        "Compiled programs are kept on the disk, so that a later run on the same machine, such as "
        "another seed, finds some of them: with several seeds the first is shown apart.",
        "Training time is that of all steps; loading, validation and saving are left out.",
        "Who is ahead at another number of steps is computed: training time, and the median step "
        "for each step more or fewer.",
    ]
    if any(run.whole_seconds is not None for each in contenders for run in each.runs):
        lines.append(
            "The whole run is from the rows' being ready to the last file, with what is imported, "
            "loaded, validated, answered and saved."
        )
    kinds = {each.device.partition(" ")[0] for each in contenders if each.device}
    if kinds - {"cpu"}:
        lines.append(
            "Peak memory of a GPU is the most that the framework's own allocator had handed out "
            "(torch: max_memory_allocated, JAX: peak_bytes_in_use). What it holds in reserve, and "
            "the driver's share, come on top."
        )
    if "cpu" in kinds:
        lines.append("Peak memory on a CPU is that of the whole process, loading included.")
    return Notice("plain", "What these numbers hold", lines)


def _quality(comparison: Comparison, contenders: Sequence[Contender]) -> str:
    rates = score_names(comparison, "rate")
    names = rates or score_names(comparison, "mean")
    if not names:
        return ""
    evaluation, metric = names[0]
    form = ".1%" if rates else ".3f"
    scored = [(each.name, score_spread(each, evaluation, metric)) for each in contenders]
    shown = ", ".join(f"{name} {each.mean:{form}}" for name, each in scored if each)
    text = f" On {evaluation}, {readable(metric)}: {shown}."
    # Those that are not ranked have their place in the table of tests.
    named = {each.name for each in contenders if each.ranked or not comparison.ranked}
    tests = [
        test
        for test in comparison.tests
        # A rate and the flag that it counts have names of their own, and the same words.
        if (test.evaluation, readable(test.metric)) == (evaluation, readable(metric))
        and {test.a, test.b} <= named
    ]
    pooled = [test for test in tests if test.seed is None] or tests
    told = [test for test in pooled if test.p_value is not None]
    if told:
        least = min(told, key=lambda test: test.p_value)
        text += (
            f" Smallest p of {count(len(told), 'paired test')} (McNemar, not corrected for their "
            f"number): {p_value(least.p_value)}, {least.a} and {least.b}."
        )
    return text


def banner(comparison: Comparison) -> Notice:
    """How the gate ended and what that means for the numbers, with the reasons."""
    why = [public_sentence(line) for line in comparison.why_not]
    if not comparison.gate:
        return Notice("warning", "The parity gate was not run, so nothing is ranked.", why)
    failed = list(dict.fromkeys(each.contender for each in comparison.gate if not each.passed))
    if failed and not comparison.ranked:
        text = f"The parity gate failed for {', '.join(failed)}: nothing here is ranked."
        return Notice("bad", text, why)
    if failed:
        text = f"The parity gate failed for {', '.join(failed)}: the others alone are ranked."
        return Notice("bad", text, why)
    if not comparison.ranked:
        return Notice("warning", "The parity gate passed, but nothing here is ranked.", why)
    text = "The parity gate passed: what is compared is the same fine-tune."
    return Notice("good" if not why else "warning", text, why)


def _gate(comparison: Comparison) -> Section:
    if not comparison.gate:
        text = "It was left out; without it nobody knows that these runs did the same."
        return Section("The parity gate", [Paragraph(text)])
    about = (
        "Before any number is compared: do the contenders train the same weights on the same "
        "tokens from the same start, and do their first losses go together?"
    )
    details = Section("The checks in words", [gate_details(comparison)], folded=True)
    return Section("The parity gate", [Paragraph(about), gate_table(comparison), details])


def _scores(comparison: Comparison, contenders: Sequence[Contender]) -> Section:
    table = score_table(comparison, contenders)
    if table is None:
        return Section("Scores", [Paragraph("No run was evaluated.")])
    blocks: list[Block] = []
    plots = score_plots(comparison, contenders)
    blocks += [Plots(plots)] if plots else []
    blocks.append(table)
    if comparison.tests:
        first, others = first_measures(comparison.tests)
        caption = "McNemar's exact test: answers that one alone has right"
        blocks.append(tests_table(first, caption))
        if any(test.seeds > 1 for test in comparison.tests):
            blocks.append(
                Paragraph(
                    "Pooled tests pair each question within its seed. The answers of several "
                    "seeds to one question are alike, so that they find differences more easily "
                    "than as many different questions would."
                )
            )
        if others:
            table = tests_table(others, f"{caption}, the other measures")
            blocks.append(Section("Tests of the other measures", [table], folded=True))
    return Section("Scores", blocks)


def _examples(comparison: Comparison) -> Iterator[Section]:
    if not comparison.examples:
        return
    words = {True: "right", False: "wrong", None: "not judged"}
    tones = {True: "good", False: "bad", None: "plain"}
    judged = any(each.metric != "answer" for each in comparison.examples)
    said = "some have right and others wrong" if judged else "were not answered alike"
    seeds = ", ".join(map(str, sorted({each.seed for each in comparison.examples})))
    text = f"{count(comparison.differing_total, 'question')} that {said}, with seed {seeds}"
    if comparison.differing_total > len(comparison.examples):
        text += f"; {len(comparison.examples):,} of them stand here"
    shown = []
    for each in comparison.examples:
        texts = [Text("known answer", cut(each.gold))]
        texts += [
            Text(
                name,
                cut(answer.text),
                tones[answer.right],
                ": ".join(
                    part for part in (words[answer.right], cut(in_words(answer.why), 200)) if part
                ),
            )
            for name, answer in each.answers.items()
        ]
        where = f"{each.evaluation}, seed {each.seed}: {each.question}"
        shown.append(Example(cut(where), texts, cut(each.context)))
    blocks: list[Block] = [Paragraph(f"{text}."), *shown[:OPEN_EXAMPLES]]
    if len(shown) > OPEN_EXAMPLES:
        more = count(len(shown) - OPEN_EXAMPLES, "more question")
        blocks.append(Section(more, shown[OPEN_EXAMPLES:], folded=True))
    yield Section("Where they differ", blocks)


def _settings(comparison: Comparison, contenders: Sequence[Contender]) -> Section:
    blocks: list[Block] = [versions_table(contenders)]
    if comparison.differences:
        lines = [public_sentence(line) for line in comparison.differences]
        blocks.append(Notice("warning", "The runs differ beyond engine and seed.", lines))
    recipe = Code(_public_recipe(comparison.recipe_toml), "toml")
    blocks.append(Section("The recipe", [recipe], folded=True))
    return Section("Versions, device and recipe", blocks)


def _public_recipe(text: str) -> str:
    """A recipe's text whose files are named without their folders."""
    return "\n".join(public_sentence(line) for line in text.splitlines())
