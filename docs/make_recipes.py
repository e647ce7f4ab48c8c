"""Writes docs/recipes.md from the recipe's fields: `python docs/make_recipes.py`."""

import json
from pathlib import Path
from typing import Any

from kerasft import recipe

PAGE = Path(__file__).with_name("recipes.md")

HEAD = """# Recipes

A recipe is a TOML file with every setting of a run. `kerasft recipes list` names the shipped
ones, `kerasft recipes copy NAME` makes a copy to change, `kerasft recipes validate FILE` tells
every fault at once, and `--set section.key=value` changes a setting for one run. A recipe says
nothing about the backend: `--backend torch|jax` decides.

Written by `python docs/make_recipes.py` from the fields of `kerasft/recipe.py`; a test fails
when the two part.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD, "## Shipped", "", "| recipe | base model | what it is |", "| --- | --- | --- |"]
    for name in recipe.names():
        shipped = recipe.load(name)
        lines.append(f"| `{name}` | `{shipped.model.preset}` | {shipped.description} |")
    lines += ["", "## Settings"]
    section = None
    for path, kind, default, reason in recipe.fields():
        parent, _, key = path.rpartition(".")
        if parent != section:
            section = parent
            heading = f"`[{parent}]`" if parent else "At the top"
            lines += ["", f"### {heading}", "", "| setting | type | default | what it does |"]
            lines.append("| --- | --- | --- | --- |")
        cells = (f"`{key}`", kind, _shown(default), reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None:
        return "not set"
    return default if default == "required" else f"`{json.dumps(default, ensure_ascii=False)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
