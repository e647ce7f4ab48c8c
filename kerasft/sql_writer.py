"""A loaded model as a writer of SQL: its prompt, its answer as a stream, and other candidates."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kerasft import backend as backends
from kerasft.errors import KerasftError
from kerasft.models.adapter import DESCRIPTION
from kerasft.models.shipped import shipped_adapter
from kerasft.recipe import load as load_recipe
from kerasft.runs import is_run

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel

MAX_NEW_TOKENS = 256
UNKNOWN_LENGTH = 1024
"""Longest prompt in tokens where it is not recorded what the model was trained with."""


class SqlWriter(Protocol):
    """Turns a question and a schema into SQL.

    Attributes:
        max_prompt_tokens: that its prompts should not be longer than.
    """

    max_prompt_tokens: int

    def prompt_tokens(self, question: str, context: str) -> int:
        """Length of the prompt."""

    def stream(self, question: str, context: str) -> Iterator[str]:
        """Pieces of the likeliest answer as they come."""

    def candidates(self, question: str, context: str, width: int) -> list[str]:
        """The likeliest answers that a beam of this width finds, best first."""


class ModelWriter:
    """A writer on a loaded model.

    Args:
        model: whose template is filled.
        max_prompt_tokens: that its prompts should not be longer than.
        max_new_tokens: of an answer, at the most.
    """

    def __init__(
        self,
        model: "LoadedModel",
        *,
        max_prompt_tokens: int = UNKNOWN_LENGTH,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        # A template may cut its context to the CREATE statements. The context here has no
        # more than those, and sample values in comments when they are asked for.
        self._model = copy.copy(model)
        self._model.template = dataclasses.replace(model.template, context="full")
        self.max_prompt_tokens = max_prompt_tokens
        self._max_new_tokens = max_new_tokens

    def prompt_tokens(self, question: str, context: str) -> int:
        return len(self._prompt(question, context))

    def stream(self, question: str, context: str) -> Iterator[str]:
        from kerasft.generation import prompt_row, stream

        row = prompt_row(self._model, question, context)
        return stream(self._model, row, max_new_tokens=self._max_new_tokens)

    def candidates(self, question: str, context: str, width: int) -> list[str]:
        (found,) = self._model.decoder.candidates(
            [self._prompt(question, context)],
            width=width,
            max_new_tokens=self._max_new_tokens,
            stop_ids=self._model.stop_ids,
        )
        return [self._model.tokenizer.decode(ids) for ids, _ in found]

    def _prompt(self, question: str, context: str) -> list[int]:
        from kerasft.generation import prompt_ids, prompt_row

        return prompt_ids(self._model, prompt_row(self._model, question, context))


def open_writer(
    model: "str | Path | LoadedModel | None" = None,
    *,
    recipe: str | None = None,
    backend: str | None = None,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> ModelWriter:
    """A writer on the model of a run, an adapter folder, a bare preset, or the shipped adapter.

    Args:
        model: which; a loaded model is taken as it is; None is the shipped adapter.
        recipe: whose template a bare preset is prompted with.
        backend: the run's where not given, else torch.
        max_prompt_tokens: `train.sequence_length` of the recipe that the adapter was trained
            with where not given, `UNKNOWN_LENGTH` where that is not recorded.
        max_new_tokens: of an answer, at the most.

    Raises:
        KerasftError: there is no such model, or a bare one without a recipe.
    """
    if model is None:
        model = shipped_adapter()
    trained: int | None = None
    if isinstance(model, str | Path):
        trained = trained_length(Path(model))
        if trained is None and recipe is not None:
            trained = load_recipe(recipe).train.sequence_length
        model = _loaded(model, recipe, backend)
    return ModelWriter(
        model,
        max_prompt_tokens=max_prompt_tokens or trained or UNKNOWN_LENGTH,
        max_new_tokens=max_new_tokens,
    )


def trained_length(folder: Path) -> int | None:
    """Tokens of the longest example of a run or an adapter folder; None if not recorded.

    It is read from recipe.toml, which a run has beside its adapter's folder and a shipped
    adapter in its own.
    """
    if not has_adapter(folder):
        return None
    for place in (folder, folder.parent):
        if (place / "recipe.toml").is_file():
            return load_recipe(str(place / "recipe.toml")).train.sequence_length
    return None


def has_adapter(model: str | Path) -> bool:
    """Whether it is a run or an adapter folder, which know their prompt themselves."""
    return is_run(Path(model)) or (Path(model) / DESCRIPTION).is_file()


def _loaded(model: str | Path, recipe: str | None, backend: str | None) -> "LoadedModel":
    folder = Path(model)
    if is_run(folder):
        from kerasft.loading import load

        return load(folder, backend=backend)
    if not has_adapter(folder) and recipe is None:
        raise KerasftError(
            f"{model} is neither a run nor an adapter folder; if it is a preset, it has no prompt "
            "of its own: give --recipe too"
        )
    backends.select(backend or backends.DEFAULT)
    from kerasft.engine.loaded import load_bare, with_adapter

    if has_adapter(folder):
        return with_adapter(folder)
    from kerasft.data.prompts import template_for

    chosen = load_recipe(recipe)
    template = template_for(chosen.prompt, chosen.task)
    return load_bare(str(model), template, chosen.task, dtype=chosen.model.dtype)
