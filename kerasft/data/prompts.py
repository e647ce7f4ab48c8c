"""Prompt templates: from a row's columns to text and markers.

A template is text with `{column}` slots (`{{` and `}}` are braces), markers such
as `<start_of_turn>` or `<|eot_id|>`, and `[[sections]]` that are left out when a
column in them is empty. Markers count only where the template writes them: the
same characters in a row stay text. BOS is put in front of every row when it is
encoded, and the template's stop token after every completion.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kerasft.data.columns import ANSWERS, COLUMNS, EXTRAS
from kerasft.data.pieces import Marker, Piece, Text, filled, marker_names, merged, parse, slot_names
from kerasft.data.schema import schema_only
from kerasft.data.tokens import Tokenizer
from kerasft.data.turns import TURNS, conversation, role_of
from kerasft.errors import DataError, collected
from kerasft.recipe import PromptSettings

EOS = "<eos>"
"""In a template: the tokenizer's EOS, however it is written there."""

SQL_INSTRUCTION = "Write SQL that answers the question."


@dataclass(frozen=True)
class Part:
    """Pieces that are all supervised (an answer with its stop token) or all not."""

    pieces: tuple[Piece, ...]
    supervised: bool


@dataclass(frozen=True)
class Rendered:
    """A row as parts in order. A chat may have several supervised parts.

    Attributes:
        parts: everything after BOS.
    """

    parts: tuple[Part, ...]

    @property
    def prompt(self) -> tuple[Piece, ...]:
        """The pieces before the last completion; texts of different parts are encoded apart."""
        return _pieces_of(self.parts[:-1])

    @property
    def completion(self) -> tuple[Piece, ...]:
        """The last completion, with its stop token at the end."""
        return self.parts[-1].pieces


@dataclass(frozen=True)
class Template:
    """How a row becomes a prompt and a completion.

    Attributes:
        name: as the recipe has it.
        prompt, completion: template text; both empty for rows of `messages`.
        stop: marker that ends a completion; `<eos>` is the tokenizer's EOS.
        context: `schema` keeps the CREATE statements of the context column.
        turns: the family whose turns the prompt is written in, if any.
    """

    name: str
    prompt: str
    completion: str
    stop: str
    context: Literal["full", "schema"] = "full"
    turns: str | None = None

    @property
    def takes_messages(self) -> bool:
        """Whether rows are conversations, in a `messages` column."""
        return not self.completion

    @property
    def slots(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        if self.takes_messages:
            return ("messages",)
        return tuple(
            dict.fromkeys(slot_names(parse(self.prompt)) + slot_names(parse(self.completion)))
        )

    @property
    def markers(self) -> tuple[str, ...]:
        """Every marker that the tokenizer must have."""
        opening = TURNS[self.turns].opening if self.turns else ""
        texts = (self.prompt, self.completion, opening)
        found = [name for text in texts for name in marker_names(parse(text))]
        return tuple(dict.fromkeys([*found, self.stop]))

    @property
    def stop_markers(self) -> tuple[str, ...]:
        """What generation must stop on: the template's own stop token, and EOS."""
        return tuple(dict.fromkeys((self.stop, EOS)))

    def render(self, row: Mapping[str, Any]) -> Rendered:
        """Prompt and completion of a row, the stop token at the end of each completion.

        Raises:
            DataError: the row lacks a column, or its messages are no conversation.
        """
        if self.takes_messages:
            parts = self._chat(row)
            last = max((i for i, part in enumerate(parts) if part.supervised), default=-1)
            if last < 0:
                raise DataError("messages: no assistant message, so nothing to learn")
            return Rendered(tuple(parts[: last + 1]))
        self._require(row, self.slots)
        completion = self._filled(self.completion, row)
        return Rendered(
            (
                Part(self._filled(self.prompt, row), supervised=False),
                Part((*completion, Marker(self.stop)), supervised=True),
            )
        )

    def render_prompt(self, row: Mapping[str, Any]) -> tuple[Piece, ...]:
        """What a completion is generated from; the row needs no answer.

        Of a conversation whose last message is the assistant's, that message is left out.

        Raises:
            DataError: as `render`.
        """
        if not self.takes_messages:
            self._require(row, slot_names(parse(self.prompt)))
            return self._filled(self.prompt, row)
        messages = row.get("messages")
        if isinstance(messages, list) and messages and role_of(messages[-1]) == "assistant":
            return self.render(row).prompt
        turns = TURNS[self.turns or ""]
        opening = turns.opening.replace("{role}", turns.roles["assistant"])
        parts = [*self._chat(row), Part(filled(parse(opening), {}), supervised=False)]
        return _pieces_of(parts)

    def chat_template(self) -> str | None:
        """Jinja that writes conversations in this template's turns; None without turns."""
        return TURNS[self.turns].chat_template if self.turns else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, to be saved with an adapter."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Template":
        """The template that `to_dict` saved.

        Raises:
            DataError: unknown or missing fields, or wrong template text.
        """
        try:
            template = cls(**saved)
        except TypeError as error:
            raise DataError(f"the saved prompt template cannot be read: {error}") from error
        return _checked(template)

    def _require(self, row: Mapping[str, Any], columns: Sequence[str]) -> None:
        missing = [column for column in columns if column not in row]
        if missing:
            raise DataError(
                f"the template {self.name!r} needs the columns {', '.join(missing)}; "
                f"the row has {', '.join(row) or 'none'}"
            )

    def _filled(self, text: str, row: Mapping[str, Any]) -> tuple[Piece, ...]:
        nodes = parse(text)
        values = {slot: str(row[slot]).strip() for slot in slot_names(nodes)}
        if self.context == "schema" and "context" in values:
            values["context"] = schema_only(values["context"])
        return filled(nodes, values)

    def _chat(self, row: Mapping[str, Any]) -> list[Part]:
        turns = TURNS[self.turns or ""]
        messages = conversation(row.get("messages"))
        parts: list[Part] = []
        head = ""
        closing = ""
        for role, content in messages:
            if role == "system" and not turns.system:
                head = f"{content}\n\n"
                continue
            opening = closing + turns.opening.replace("{role}", turns.roles[role])
            opened = filled(parse(opening), {})
            if role == "assistant":
                parts.append(Part(opened, supervised=False))
                parts.append(Part((Text(content), Marker(turns.stop)), supervised=True))
            else:
                said = (*opened, Text(head + content), Marker(turns.stop))
                parts.append(Part(merged(said), supervised=False))
                head = ""
            closing = turns.closing
        if closing:
            parts.append(Part((Text(closing),), supervised=False))
        return parts


def template_for(settings: PromptSettings, task: str) -> Template:
    """The template that a recipe names, for its task.

    Raises:
        DataError: no such template for the task, or a custom one with faults.
    """
    if settings.custom is not None:
        custom = settings.custom
        template = Template("custom", custom.prompt, custom.completion, custom.stop)
        _check_slots(template, task)
    else:
        template = _named(settings.template, task)
    return _checked(dataclasses.replace(template, context=settings.context))


def marker_id(marker: str, tokenizer: Tokenizer) -> int:
    """Id of a marker; `<eos>`, `<bos>` and `<pad>` are the tokenizer's own, however written.

    Raises:
        DataError: the tokenizer has no such token.
    """
    own = {EOS: tokenizer.eos_id, "<bos>": tokenizer.bos_id, "<pad>": tokenizer.pad_id}
    found = own.get(marker, tokenizer.special_ids.get(marker))
    if found is None:
        raise DataError(
            f"the tokenizer of this model has no token {marker}, which the prompt template "
            "needs; choose a template of the model's family, or `instruction`"
        )
    return found


def stop_ids(template: Template, tokenizer: Tokenizer) -> list[int]:
    """Ids that end a generation: the template's stop token, and EOS.

    Raises:
        DataError: as `marker_id`.
    """
    ids = [marker_id(marker, tokenizer) for marker in template.stop_markers]
    return list(dict.fromkeys(ids))


def names(task: str) -> list[str]:
    """The templates there are for a task, `custom` apart."""
    return [*_BODIES[task], *_CHATS]


def _named(name: str, task: str) -> Template:
    if name in _CHATS:
        family = _CHATS[name]
        return Template(name, "", "", TURNS[family].stop, turns=family)
    if name not in _BODIES[task]:
        near = difflib.get_close_matches(name, names(task), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise DataError(
            f"there is no prompt template {name!r} for {task}{hint} "
            f"There are: {', '.join(names(task))}, and custom"
        )
    body, completion = _BODIES[task][name], _COMPLETIONS[task]
    if name not in TURNS:
        return Template(name, body, completion, EOS)
    turns = TURNS[name]
    user = turns.opening.replace("{role}", turns.roles["user"])
    model = turns.opening.replace("{role}", turns.roles["assistant"])
    prompt = f"{user}{body}{turns.stop}{turns.closing}{model}"
    return Template(name, prompt, completion, turns.stop, turns=name)


_SQL_TURN = SQL_INSTRUCTION + "\n[[{context}\n]]Question: {question}"
_INSTRUCT_TURN = "{instruction}[[\n\n{context}]]"
_BODIES: Mapping[str, Mapping[str, str]] = {
    "text_to_sql": {
        "gemma": _SQL_TURN,
        "llama3": _SQL_TURN,
        "alpaca": "### Instruction:\n" + SQL_INSTRUCTION + " {question}\n\n"
        "[[### Input:\n{context}\n\n]]### Response:\n",
        "instruction": "Instruction:\n" + SQL_INSTRUCTION + " {question}\n\n"
        "[[Context:\n{context}\n\n]]Response:\n",
    },
    "instruct": {
        "gemma": _INSTRUCT_TURN,
        "llama3": _INSTRUCT_TURN,
        "alpaca": "### Instruction:\n{instruction}\n\n[[### Input:\n{context}\n\n]]### Response:\n",
        "instruction": "Instruction:\n{instruction}\n\n[[Context:\n{context}\n\n]]Response:\n",
    },
}
_COMPLETIONS = {"text_to_sql": "{sql}", "instruct": "{response}"}
_CHATS = {"chat": "gemma", "chat-llama3": "llama3"}


def _pieces_of(parts: Iterable[Part]) -> tuple[Piece, ...]:
    return tuple(piece for part in parts for piece in part.pieces)


def _check_slots(template: Template, task: str) -> None:
    known = [*COLUMNS[task], *EXTRAS]
    faults = []
    for slot in template.slots:
        if slot not in known:
            near = difflib.get_close_matches(slot, known, n=1)
            hint = f"; did you mean {{{near[0]}}}?" if near else ""
            faults.append(f"{{{slot}}} is no column of {task}{hint} ({', '.join(COLUMNS[task])})")
    answers = [slot for slot in slot_names(parse(template.prompt)) if slot in ANSWERS]
    faults += [f"{{{slot}}} is the answer, but stands in the prompt" for slot in answers]
    if not any(slot in ANSWERS for slot in slot_names(parse(template.completion))):
        faults.append("the completion holds no answer column, so nothing would be learned")
    if faults:
        raise DataError(collected("[prompt.custom] has faults", faults))


def _checked(template: Template) -> Template:
    faults = []
    if template.turns is not None and template.turns not in TURNS:
        faults.append(f"turns {template.turns!r}: expected one of {', '.join(TURNS)}")
    elif template.takes_messages and template.turns is None:
        faults.append("no completion, and no turns for messages")
    if parse(template.stop) != (Text(""), Marker(template.stop), Text("")):
        faults.append(f"stop {template.stop!r} is no marker such as <eos> or <end_of_turn>")
    if "<bos>" in marker_names(parse(template.prompt)):
        faults.append("<bos> stands in the prompt, but is put before every row already")
    if faults:
        raise DataError(collected(f"the prompt template {template.name!r} has faults", faults))
    return template
