"""A run as a page of Markdown, for a notebook's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasft.export.card_scores import compared, scores, sides
from kerasft.records import read_json
from kerasft.runs import RunFolder

_LONGEST = 400
"""Characters of a text in a table; the run folder has all of them."""


def markdown(path: str | Path) -> str:
    """What a run did: its numbers, its scores beside the base's, answers before and after.

    Raises:
        RunError: the folder is no run, or a file of it is damaged.
    """
    run = RunFolder.open(Path(path))
    return "\n\n".join([*_facts(run.record()), *_scores(run), *_samples(run.record())])


def _facts(record: Mapping[str, Any]) -> Iterator[str]:
    status = str(record["status"]) + (f": {record['why']}" if record.get("why") else "")
    rows = [["status", status]]
    if record.get("steps") is not None:
        rows.append(["optimizer steps", f"{record['steps']:,} of {record['planned_steps']:,}"])
    if record.get("first_loss") is not None:
        rows.append(["loss", f"{record['first_loss']:.3f} → {record['last_loss']:.3f}"])
    validation = record.get("validation")
    if validation and validation.get("best") is not None:
        rows.append(["validation loss", f"{validation['before']:.3f} → {validation['best']:.3f}"])
    if record.get("tokens_per_second"):
        rows.append(["tokens a second", f"{record['tokens_per_second']:,.0f}"])
    if record.get("device"):
        device = f"{record['device']['name']}, {record['backend']}, {record['dtype']}"
        rows.append(["device", device])
    yield f"### {_text(record['name'])}"
    yield _table(["", ""], rows)


def _scores(run: RunFolder) -> Iterator[str]:
    files = sorted(run.eval.glob("*.json")) if run.eval.is_dir() else []
    for file in files:
        result = read_json(file)
        columns = {
            side: {score.name: score.shown() for score in scores(summary)}
            for side, summary in sides(result).items()
        }
        names = dict.fromkeys(name for found in columns.values() for name in found)
        if not names:
            continue
        rows = [
            [
                name.replace("_", " "),
                *(
                    f"{found[name][1]} ({found[name][2]})" if name in found else "–"
                    for found in columns.values()
                ),
            ]
            for name in names
        ]
        yield f"**{_text(file.stem)}: {result['rows']} rows, 95 % intervals**"
        yield _table(["", *columns], rows)
        sentence = compared(result.get("comparison") or {})
        if sentence:
            yield sentence


def _samples(record: Mapping[str, Any]) -> Iterator[str]:
    for sample in record.get("samples") or []:
        yield f"**{_text(sample['prompt'])}**"
        shown = [key for key in ("expected", "before", "after") if key in sample]
        yield _table(["", ""], [[key, sample[key]] for key in shown])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text of any origin in one line of Markdown: what would be markup is shown as it is."""
    text = " ".join(str(text).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return "".join(f"&#{ord(each)};" if each in "\\`*_[]<>|!$~&" else each for each in text)
