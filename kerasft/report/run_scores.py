"""What a run's report says of one of its evaluations."""

from collections.abc import Iterator, Mapping
from typing import Any

from kerasft.export.card_scores import scores, sides
from kerasft.report.answers import Answered
from kerasft.report.document import Block, Example, Paragraph, Plots, Section, Table, Text
from kerasft.report.public import public_sentence
from kerasft.report.run_contents import Evaluation
from kerasft.report.run_plots import score_plot
from kerasft.report.scores import difference, readable
from kerasft.report.words import count


def evaluation_section(evaluation: Evaluation) -> Section:
    """Scores beside those of the base, their difference, and some answers."""
    result, found = evaluation.result, sides(evaluation.result)
    data = result.get("data") or {}
    text = f"{count(result.get('rows'), 'row')} of {data.get('source', 'its data')}"
    text += f" ({data['which']})" if data.get("which") else ""
    blocks: list[Block] = [Paragraph(public_sentence(f"{text}, answered greedily."))]
    plot = score_plot(evaluation)
    if plot is not None:
        blocks.append(Plots([plot]))
    blocks.append(_score_table(evaluation.name, result, found))
    blocks += _tables_beside(result, found)
    if evaluation.examples:
        about = (
            "Wrong answers of each kind first, then right ones"
            if _judged(evaluation)
            else ("The first rows")
        )
        shown = [_example(each) for each in evaluation.examples]
        blocks.append(Section("Answers", [Paragraph(f"{about}."), *shown], folded=True))
    return Section(f"Scores: {evaluation.name}", blocks)


def _score_table(name: str, result: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    shown = {
        side: {score.name: score.shown() for score in scores(summary)}
        for side, summary in found.items()
    }
    metrics = dict.fromkeys(metric for each in shown.values() for metric in each)
    rows = [
        [
            readable(metric),
            *(
                f"{shown[side][metric][1]} ({shown[side][metric][2]})"
                if metric in shown[side]
                else "–"
                for side in found
            ),
        ]
        for metric in metrics
    ]
    caption = f"{name}: scores with 95 % intervals, {count(result.get('rows'), 'row')}"
    return Table(caption, ["", *found], rows)


def _tables_beside(result: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Block]:
    compared = result.get("comparison")
    if compared:
        rows = [
            [readable(name) + ("" if name != "perplexity" else ", nats a token"), *difference(each)]
            for name, each in compared.items()
        ]
        caption = "Tuned less base on the same rows (p: McNemar's exact test)"
        yield Table(caption, ["", "difference", "rows", "p "], rows)
    retried = result.get("with_retry")
    if retried:
        yield _score_table("with retry", result, retried)
    forgetting = result.get("forgetting")
    if forgetting:
        ratio = forgetting["comparison"]["perplexity_ratio"]
        if ratio["ratio"] is not None:
            yield Paragraph(
                f"Forgetting: on {count(forgetting['rows'], 'row')} of another task the tuned "
                f"model's perplexity is {ratio['ratio']:.2f} times the base's "
                f"({ratio['low']:.2f} to {ratio['high']:.2f})."
            )
    statuses = {side: each.get("status") for side, each in found.items() if each.get("status")}
    if statuses:
        names = dict.fromkeys(name for each in statuses.values() for name in each)
        rows = [
            [name.replace("_", " "), *(f"{statuses[side].get(name, 0):,}" for side in statuses)]
            for name in names
        ]
        yield Table("What became of the answers, in rows", ["", *(f"{s} " for s in statuses)], rows)


def _judged(evaluation: Evaluation) -> bool:
    return any(
        side.right is not None for each in evaluation.examples for side in each.sides.values()
    )


def _example(answered: Answered) -> Example:
    texts = [Text("known answer", answered.expected)]
    for name, side in answered.sides.items():
        verdict = {True: "right", False: "wrong", None: ""}[side.right]
        remark = ": ".join(part for part in (verdict, side.why) if part)
        tone = {True: "good", False: "bad", None: "plain"}[side.right]
        texts.append(Text(name, side.text, tone, remark))
    return Example(answered.asked, texts, answered.context)
