"""Which rows are scored, and which tell what was forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.data.columns import COLUMNS
from kerasft.data.prompts import Template, template_for
from kerasft.data.sources import Dataset, load_rows, source_columns, split_rows
from kerasft.errors import KerasftError
from kerasft.recipe import DataSettings, Recipe, load, names
from kerasft.tasks import task_row

OTHER = {"text_to_sql": ("instruct", "dolly"), "instruct": ("text_to_sql", "sql")}
"""For each task another one, and the shipped recipe whose prompt its rows get."""


@dataclass(frozen=True)
class Rows:
    """Rows with known answers.

    Attributes:
        name: of the files of the results.
        described: source, content hash and which of its rows.
        rows: with the columns of their task.
        task: which one that is.
        template: that they are prompted with.
    """

    name: str
    described: Mapping[str, Any]
    rows: list[dict[str, Any]]
    task: str
    template: Template


def rows_to_score(
    recipe: Recipe,
    *,
    data: str | Path | None = None,
    database: Path | None = None,
    split: str | None = None,
    limit: int = 0,
) -> Rows:
    """The rows that a recipe held back, or those of a file, a split or a database.

    Args:
        recipe: whose source, columns, split and prompt are taken.
        data: a file of rows instead of the recipe's source. A column that it does not have
            under the recipe's name for it is found by its usual names. Its `database` column,
            where it has one, names files from the folder of `data`.
        database: a file that all queries of `data` run on: `data` then has `question` and `sql`.
        split: of `data`, or of the recipe's source.
        limit: rows at the most, 0 for all.

    Raises:
        KerasftError: there is no such file, its rows have faults, or no rows were held back.
    """
    if data is not None:
        data = Path(data).expanduser() if Path(data).expanduser().exists() else data
        name = Path(data).stem or Path(data).resolve().stem
        if database is not None:
            from kerasft.data.questions import load_questions

            dataset = load_questions(Path(data), database)
        else:
            dataset = load_rows(_settings(recipe, data, split), recipe.task)
        rows, which = _with_databases(dataset.rows, Path(data)), "all rows"
        if database is not None:
            which = f"all questions about {database.name}"
    elif split and split != recipe.data.split:
        dataset = load_rows(recipe.data.model_copy(update={"split": split}), recipe.task)
        name, rows, which = split, list(dataset.rows), f"split {split}"
    else:
        dataset, rows = _held_back(recipe)
        name, which = "validation", "rows held back from training"
    return _chosen(recipe, name, dataset, rows, which, limit)


def rows_of_another_task(given: str | Path, task: str, limit: int) -> Rows:
    """Rows that a model tuned on `task` was not tuned on, to see what it forgot.

    Args:
        given: a recipe, of which the rows held back are taken; or a file of rows of the other
            task, which are prompted as that task's shipped recipe does.
        task: what the model was tuned on.
        limit: rows at the most, 0 for all.

    Raises:
        KerasftError: as `rows_to_score`.
    """
    text = str(given)
    if text in names() or text.endswith(".toml"):
        recipe = load(text)
        dataset, rows = _held_back(recipe)
        return _chosen(recipe, Path(text).stem, dataset, rows, "rows held back", limit)
    other, shipped = OTHER[task]
    recipe = load(shipped, {"data.source": text, "data.only_empty": [], "data.limit": 0})
    dataset = load_rows(recipe.data, other)
    return _chosen(recipe, Path(text).stem, dataset, list(dataset.rows), "all rows", limit)


def _held_back(recipe: Recipe) -> tuple[Dataset, list[dict[str, Any]]]:
    dataset = load_rows(recipe.data, recipe.task)
    _, held = split_rows(dataset, recipe.data)
    if not held:
        raise KerasftError(
            "the recipe holds no rows back (data.validation is 0), and rows that were trained "
            "on say nothing: give --data or --split"
        )
    return dataset, held


def _settings(recipe: Recipe, data: str | Path, split: str | None) -> DataSettings:
    """Of the recipe's names of columns only those that these rows have too."""
    settings = DataSettings(source=str(data), split=split or "train")
    if not recipe.data.columns:
        return settings
    there = source_columns(settings, recipe.task)

    def holds(name: str, given: str) -> bool:
        # "" says that the recipe's source has no such column; these rows may have one.
        return given in there if given else not any(each in there for each in usual[name].aliases)

    usual = COLUMNS[recipe.task]
    kept = {name: given for name, given in recipe.data.columns.items() if holds(name, given)}
    return settings.model_copy(update={"columns": kept})


def _with_databases(rows: list[dict[str, Any]], data: Path) -> list[dict[str, Any]]:
    """Rows whose `database` is found from wherever the program runs."""
    folder = data if data.is_dir() else data.parent
    return [
        {**row, "database": str(folder / Path(row["database"]).expanduser())}
        if row.get("database")
        else row
        for row in rows
    ]


def _chosen(
    recipe: Recipe,
    name: str,
    dataset: Dataset,
    rows: list[dict[str, Any]],
    which: str,
    limit: int,
) -> Rows:
    local = Path(dataset.source).exists()
    described = {
        "source": Path(dataset.source).name if local else dataset.source,
        "content_hash": dataset.content_hash,
        "which": which if not limit or len(rows) <= limit else f"{which}, the first {limit}",
    }
    chosen = [task_row(recipe.task, row) for row in rows[: limit or None]]
    template = template_for(recipe.prompt, recipe.task)
    return Rows(name, described, chosen, recipe.task, template)
