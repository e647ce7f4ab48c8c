"""The tables of `kerasft eval`."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from kerasft.cli.output import number, printable, table
from kerasft.tasks import TASKS

EXAMPLES = 5
"""Rows of a table of examples; the results have all of them."""

LONGEST = 160
"""Characters of a text in such a table."""


def tables(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a person reads of the results, the most important first."""
    for place, each in enumerate(_parts(results)):
        if place and isinstance(each, Table):
            yield ""
        yield each


def _parts(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    contenders = [name for name in ("base", "tuned") if name in results]
    yield _scores(results, contenders)
    for field in (key for key in results[contenders[0]] if key.startswith("by_")):
        yield _groups(results, contenders, field)
    if "with_retry" in results:
        yield _retries(results["with_retry"])
    if "comparison" in results:
        yield _comparison(results["comparison"])
    if "forgetting" in results:
        yield _forgetting(results["forgetting"])
    if "changed" in results:
        yield from _changed(results)
    if "changed" not in results or not TASKS[results["task"]].PAIRED:
        yield from _side_by_side(results, contenders)
    yield ""
    yield printable(_decoding(results["decoding"], contenders))


def cell(value: Any) -> str:
    """A metric for a table: a rate or a mean with its 95 % interval, counts, or a number."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if not isinstance(value, Mapping):
        return number(value) if value is None or isinstance(value, (int, float)) else str(value)
    if "rate" in value:
        if value["rate"] is None:
            return "– (no row to judge)"
        low, high = value["low"], value["high"]
        return f"{value['rate']:.1%} ({low:.1%} to {high:.1%}), {value['count']} of {value['of']}"
    for centre in ("mean", "perplexity"):
        if centre in value:
            if value[centre] is None:
                return "–"
            return f"{value[centre]:.3g} ({value['low']:.3g} to {value['high']:.3g})"
    return ", ".join(f"{name} {cell(count)}" for name, count in value.items()) or "–"


def _scores(results: Mapping[str, Any], contenders: list[str]) -> Table:
    flat = {name: dict(_flat(results[name])) for name in contenders}
    metrics = dict.fromkeys(key for name in contenders for key in flat[name])
    rows = [
        [metric.replace("_", " "), *(cell(flat[name].get(metric)) for name in contenders)]
        for metric in metrics
    ]
    return table(f"{results['rows']} rows", ["", *contenders], rows)


def _flat(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in summary.items():
        if name == "judge":
            yield from ((f"judge: {inner}", each) for inner, each in value.items())
        elif not name.startswith("by_"):
            yield name, value


def _groups(results: Mapping[str, Any], contenders: list[str], field: str) -> Table:
    """The first score of each group."""
    first = results[contenders[0]][field]
    measure = next(
        name
        for name, value in next(iter(first.values())).items()
        if isinstance(value, Mapping) and ("rate" in value or "mean" in value)
    )
    rows = [
        [group, number(own["rows"])]
        + [cell(results[name][field].get(group, {}).get(measure)) for name in contenders]
        for group, own in first.items()
    ]
    title = f"{measure.replace('_', ' ')} {field.replace('_', ' ')}"
    return table(title, ["", "rows ", *contenders], rows)


def _retries(retried: Mapping[str, Any]) -> Table:
    names = ("tried", "replaced", "valid_sql", "execution_accuracy", "exact_match")
    rows = [
        [name.replace("_", " "), *(cell(each.get(name)) for each in retried.values())]
        for name in names
    ]
    width = next(iter(retried.values()))["width"]
    title = f"with retry, a beam of {width}"
    return table(title, ["", *retried], rows)


def _comparison(compared: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in compared.items():
        difference = found["difference"]
        if "p_value" in found:
            shown = _percentage_points(difference)
            counts = [number(found["fixed"]), number(found["broken"]), _p(found["p_value"])]
        else:
            unit = " nats a token" if name == "perplexity" else ""
            shown, counts = f"{cell(difference)}{unit}", ["", "", ""]
        rows.append([name.replace("_", " "), shown, *counts])
    columns = ["", "difference", "fixed ", "broken ", "p "]
    return table("tuned less base (p: McNemar's exact test)", columns, rows)


def _percentage_points(difference: Mapping[str, Any]) -> str:
    if difference["mean"] is None:
        return "–"
    centre, low, high = (100 * difference[name] for name in ("mean", "low", "high"))
    return f"{centre:+.1f} points ({low:+.1f} to {high:+.1f})"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _forgetting(found: Mapping[str, Any]) -> Table:
    ratio = found["comparison"]["perplexity_ratio"]
    change = "–"
    if ratio["ratio"] is not None:
        change = f"× {ratio['ratio']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
    title = f"perplexity on {found['rows']} rows of {found['data']['source']}"
    return table(
        title,
        ["base", "tuned", "tuned over base"],
        [[cell(found["base"]), cell(found["tuned"]), change]],
    )


def _changed(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    measure, examples = results["changed"]["measure"], results["changed"]["examples"]
    if not examples:
        return
    # Some of both, for a long list of one would hide the other.
    broken = [each for each in examples if each["change"] == "broken"]
    fixed = [each for each in examples if each["change"] == "fixed"]
    few = broken[: max(EXAMPLES // 2, EXAMPLES - len(fixed))]
    few += fixed[: EXAMPLES - len(few)]
    rows = [
        [each["change"], *(_short(each[name]) for name in ("asked", "expected", "base", "tuned"))]
        for each in few
    ]
    title = f"{len(examples)} rows changed ({measure.replace('_', ' ')})"
    yield table(title, ["", "asked", "expected", "base", "tuned"], rows)
    if len(examples) > len(few):
        yield printable(f"… and {len(examples) - len(few)} more in {results['files'][0]}")


def _side_by_side(results: Mapping[str, Any], contenders: list[str]) -> Iterator[RenderableType]:
    predictions = results["predictions"]
    if not predictions:
        return
    task = TASKS[results["task"]]
    rows = [
        [_short(line[task.PROMPT_COLUMNS[0]]), _short(line[task.COMPLETION_COLUMN])]
        + [_short(line[name]["answer"]) for name in contenders]
        for line in predictions[:EXAMPLES]
    ]
    yield table("answers", ["asked", "expected", *contenders], rows)
    if len(predictions) > len(rows):
        more = len(predictions) - len(rows)
        file = results["files"][0].removesuffix(".json")
        yield printable(f"… and {more} more in {file}.predictions.jsonl")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _decoding(decoding: Mapping[str, Any], contenders: list[str]) -> str:
    parts = []
    for name in contenders:
        found = decoding[name]
        rate = found["rows_per_second"]
        part = f"{name} {number(rate)} rows/s" if rate else name
        taken = f" ({found['resumed']} answers taken up)" if found["resumed"] else ""
        parts.append(part + taken)
    return "decoding: " + ", ".join(parts)
