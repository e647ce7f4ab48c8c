"""A notebook as nbformat 4.5 has it: https://nbformat.readthedocs.io."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kerasft.kaggle.accelerators import Accelerator
from kerasft.kaggle.cells import CODE, Contents, cells

PARAMETERS = "parameters"
"""Cell and tag: a program such as papermill puts its own values after it."""


def notebook(contents: Contents, colab: bool = False) -> dict[str, Any]:
    """The notebook of a recipe, for Kaggle or for Colab, as a JSON object."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            **(_colab(contents.accelerator) if colab else {}),
        },
        "cells": [_cell(*cell) for cell in cells(contents, colab)],
    }


def _cell(identity: str, kind: str, source: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": [PARAMETERS]} if identity == PARAMETERS else {}
    cell = {"id": identity, "cell_type": kind, "metadata": metadata, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == CODE else {})


def _colab(accelerator: Accelerator) -> dict[str, Any]:
    """What Colab reads of the machine that it should give."""
    kind = accelerator.kind.upper()
    if accelerator.kind == "cpu":
        return {"colab": {"provenance": []}}
    return {"accelerator": kind, "colab": {"provenance": [], "gpuType": accelerator.colab}}


def cleared(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook without outputs, each source one string, as Kaggle takes it."""
    return {**notebook, "cells": list(_cleared(notebook.get("cells", [])))}


def _cleared(found: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for cell in found:
        source = cell.get("source", "")
        made = {**cell, "source": source if isinstance(source, str) else "".join(source)}
        if cell.get("cell_type") == CODE:
            made |= {"outputs": [], "execution_count": None}
        yield made
