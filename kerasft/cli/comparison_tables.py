"""The tables of `kerasft compare`."""

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.table import Table

from kerasft.cli.output import number, printable, size, table
from kerasft.compare.result import Comparison, Contender
from kerasft.compare.statistics import Spread, cost, facts_spread, score_spread, spread

Shown = Callable[[float], str]


def tables(result: Comparison) -> Iterator[RenderableType]:
    """What a person reads, the gate first."""
    for place, each in enumerate(_parts(result)):
        if place and isinstance(each, Table):
            yield ""
        yield each


def _parts(result: Comparison) -> Iterator[RenderableType]:
    yield printable(result.title)
    for note in (*result.notes, *result.differences):
        yield printable(f"- {note}")
    if result.gate:
        yield _gate(result)
    yield from _verdict(result)
    yield _numbers(result)
    if any(run.scores for each in result.contenders for run in each.runs):
        yield _scores(result)
    if result.tests:
        yield _tests(result)
    if result.differing_total:
        count = result.differing_total
        yield printable(f"{count:,} questions on which they differ: see the report")


def _gate(result: Comparison) -> Table:
    rows = [
        [
            check.contender,
            check.what,
            _figure(check.value),
            _figure(check.bound),
            "passed" if check.passed else "FAILED",
            "" if check.passed else check.detail,
        ]
        for check in result.gate
    ]
    passed = all(check.passed for check in result.gate)
    title = f"parity gate, against {result.reference}: {'passed' if passed else 'FAILED'}"
    return table(title, ["", "check", "value ", "bound ", "", ""], rows)


def _verdict(result: Comparison) -> Iterator[RenderableType]:
    if result.why_not:
        yield ""
        yield printable("Not ranked:" if not result.ranked else "Ranked, but for:")
        for reason in result.why_not:
            yield printable(f"- {reason}")


def _numbers(result: Comparison) -> Table:
    """One column a contender; means over the seeds, with their deviation."""
    price = result.price_per_hour
    facts: list[tuple[str, Callable[[Contender], Spread | None], Shown]] = [
        ("time to first step", _fact("first_step_seconds"), _seconds),
        ("step time", _fact("step_seconds"), _seconds),
        ("tokens/s", _fact("tokens_per_second"), _count),
        ("supervised tokens/s", _fact("supervised_tokens_per_second"), _count),
        ("training time", _fact("training_seconds"), _seconds),
        ("peak memory", _fact("peak_memory_bytes"), _size),
        ("adapter", _fact("adapter_bytes"), _size),
        ("run folder", _fact("run_bytes"), _size),
        ("last loss", lambda each: spread(r.losses[-1][1] for r in each.runs if r.losses), _plain),
    ]
    if price is not None:
        facts.append(
            (
                f"cost at {price:g} an hour",
                lambda each: spread(cost(run.training_seconds, price) for run in each.runs),
                _plain,
            )
        )
    rows = [
        [
            "runs",
            *(
                f"{sum(run.status == 'finished' for run in each.runs)} of {len(each.runs)} finished"
                for each in result.contenders
            ),
        ],
        ["trained values", *(number(each.trained_parameters) for each in result.contenders)],
        *(
            [label, *(_spread(of(each), shown) for each in result.contenders)]
            for label, of, shown in facts
        ),
    ]
    if result.ranked:
        place = next(place for place, row in enumerate(rows) if row[0] == "tokens/s")
        rows.insert(place + 1, ["tokens/s, of the reference's", *_ratios(result)])
    names = [
        each.name if each.ranked or not result.ranked else f"{each.name} (not ranked)"
        for each in result.contenders
    ]
    return table(result.contenders[0].device, ["", *names], rows)


def _ratios(result: Comparison) -> list[str]:
    """Of ranked contenders alone."""
    reference = next(each for each in result.contenders if each.name == result.reference)
    own = facts_spread(reference, "tokens_per_second")
    found = []
    for each in result.contenders:
        speed = facts_spread(each, "tokens_per_second")
        comparable = each.ranked and own is not None and speed is not None and own.mean
        found.append(f"{speed.mean / own.mean:.2f} ×" if comparable else "–")
    return found


def _scores(result: Comparison) -> Table:
    keys = dict.fromkeys(
        (score.evaluation, score.metric, score.kind)
        for each in result.contenders
        for run in each.runs
        for score in run.scores
    )
    base = {(score.evaluation, score.metric): score for score in result.base_scores}
    rows = []
    for evaluation, metric, kind in keys:
        shown: Shown = (lambda value: f"{value:.1%}") if kind == "rate" else _plain
        cells = []
        for each in result.contenders:
            one = [
                score
                for run in each.runs
                for score in run.scores
                if (score.evaluation, score.metric) == (evaluation, metric)
            ]
            if len(one) == 1:
                cells.append(f"{shown(one[0].value)} ({shown(one[0].low)} to {shown(one[0].high)})")
            else:
                cells.append(_spread(score_spread(each, evaluation, metric), shown))
        untouched = base.get((evaluation, metric))
        own = shown(untouched.value) if untouched else "–"
        rows.append([evaluation, metric.replace("_", " "), own, *cells])
    names = [each.name for each in result.contenders]
    return table("scores", ["", "", "base", *names], rows)


def _tests(result: Comparison) -> Table:
    rows = [
        [
            test.evaluation,
            test.metric.replace("_", " "),
            f"{test.a}, {test.b}",
            number(test.only_a),
            number(test.only_b),
            number(test.total),
            "–" if test.p_value is None else f"{test.p_value:.3f}",
        ]
        for test in result.tests
        if test.seed is None
    ]
    columns = ["", "", "pair", "only the first right ", "only the second ", "of ", "p "]
    return table("the same questions (p: McNemar's exact test)", columns, rows)


def _fact(name: str) -> Callable[[Contender], Spread | None]:
    return lambda contender: facts_spread(contender, name)


def _spread(found: Spread | None, shown: Shown) -> str:
    if found is None:
        return "–"
    if found.deviation is None:
        return shown(found.mean)
    return f"{shown(found.mean)} ± {shown(found.deviation)}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _size(value: float) -> str:
    return size(round(value))


def _plain(value: float) -> str:
    return f"{value:.4g}"
