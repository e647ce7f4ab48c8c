"""The model card: README.md with the metadata that the Hub reads, and NOTICE beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kerasft.export import card_sections as sections
from kerasft.export.card_facts import Facts, gather, publishable
from kerasft.export.card_metadata import front_matter
from kerasft.records import write_text

if TYPE_CHECKING:
    from kerasft.export.verify import Verification
    from kerasft.export.views import WeightsView
    from kerasft.export.written import Written

CARD, NOTICE = "README.md", "NOTICE"


def write_card(
    folder: Path,
    title: str,
    run: Path,
    weights: WeightsView,
    written: Written,
    verification: Verification,
) -> None:
    """Write README.md, and NOTICE with what the base's terms ask for, into a folder.

    Args:
        folder: the export's files, where they lie now.
        title: what the export will be called.
        run: the run folder.

    Raises:
        RunError: the run cannot be read.
    """
    facts = gather(folder, title, run, weights, written, verification)
    for name, text in ((CARD, card(facts)), (NOTICE, notice(facts))):
        write_text(folder / name, publishable(text, run))


def card(facts: Facts) -> str:
    """The card as Markdown with its YAML front matter."""
    parts = [
        front_matter(facts),
        sections.head(facts),
        sections.use(facts),
        sections.training(facts),
        sections.evaluation(facts),
        sections.verification(facts),
        sections.limits(facts),
        sections.terms(facts),
    ]
    return "\n".join(part for part in parts if part)


def notice(facts: Facts) -> str:
    """What the terms of the base ask to travel with its derivatives."""
    licence = facts.licence
    change = (
        "The adapter in this folder was trained on these weights, which it changes when it is\n"
        "loaded on them."
        if facts.format == "peft"
        else "The weights in this folder were modified: an adapter was merged into them."
    )
    built = f"{licence.built_with}\n\n" if licence.built_with else ""
    return f"{built}{licence.notice}\n\n{change}\n"
