"""Conversations: how each family writes its turns, and which lists of messages are one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerasft.errors import DataError


@dataclass(frozen=True)
class Turns:
    """How a family writes the turns of a conversation.

    Attributes:
        opening: text before a message, with a {role} slot.
        stop: marker that ends a turn.
        closing: text after the stop marker.
        roles: our role = the family's word for it.
        system: whether system messages have a turn of their own; else they stand
            at the head of the first user message.
        chat_template: Jinja for `tokenizer_config.json`, to the same text.
    """

    opening: str
    stop: str
    closing: str
    roles: Mapping[str, str]
    system: bool
    chat_template: str


_GEMMA_JINJA = """\
{{ bos_token }}
{%- set head = namespace(text='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set head.text = head.text + (message['content'] | trim) + '\\n\\n' -%}
{%- else -%}
{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}
{{- head.text + (message['content'] | trim) + '<end_of_turn>\\n' }}
{%- set head.text = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""

_LLAMA3_JINJA = """\
{{ bos_token }}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- (message['content'] | trim) + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}
"""

TURNS: Mapping[str, Turns] = {
    "gemma": Turns(
        opening="<start_of_turn>{role}\n",
        stop="<end_of_turn>",
        closing="\n",
        roles={"user": "user", "assistant": "model"},
        system=False,
        chat_template=_GEMMA_JINJA,
    ),
    "llama3": Turns(
        opening="<|start_header_id|>{role}<|end_header_id|>\n\n",
        stop="<|eot_id|>",
        closing="",
        roles={"user": "user", "assistant": "assistant", "system": "system"},
        system=True,
        chat_template=_LLAMA3_JINJA,
    ),
}


def role_of(message: Any) -> str | None:
    return message.get("role") if isinstance(message, Mapping) else None


def conversation(messages: Any) -> list[tuple[str, str]]:
    """(role, content) of each message; system first, then user and assistant in turn.

    Raises:
        DataError: anything else.
    """
    if not isinstance(messages, list) or not messages:
        raise DataError("messages: expected a list of {role, content}")
    found: list[tuple[str, str]] = []
    for number, message in enumerate(messages, 1):
        role = role_of(message)
        content = message.get("content") if isinstance(message, Mapping) else None
        if role == "model":
            role = "assistant"
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise DataError(
                f"messages: message {number} is no {{role, content}} of system, user or assistant: "
                f"{json.dumps(message, ensure_ascii=False, default=str)[:80]}"
            )
        if not content.strip():
            raise DataError(f"messages: message {number} ({role}) is empty")
        found.append((role, content.strip()))
    spoken = [role for role, _ in found if role != "system"]
    if "system" in [role for role, _ in found[1:]]:
        raise DataError("messages: a system message can only be the first")
    if spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"] * (len(spoken) % 2):
        raise DataError(
            "messages: user and assistant must take turns, the user first; got "
            + ", ".join(spoken[:8])
        )
    return found
