"""What a fine-tuned model is asked to do, one module a task.

A task module has `COLUMNS` (what a row must have), `OPTIONAL_COLUMNS`, `PROMPT_COLUMNS` (those
that fill the prompt's slots), `COMPLETION_COLUMN`, `score(rows, answers)` (one judgement a row,
a dataclass) and `summarise(judgements)` (a dict for JSON).
"""

from collections.abc import Mapping
from typing import Any

from kerasft.data.turns import conversation
from kerasft.tasks import instruct, text_to_sql

TASKS = {"text_to_sql": text_to_sql, "instruct": instruct}


def task_row(task: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the task's columns, so that an answer to it can be shown and judged.

    Of a conversation, the last answer is the completion and the message before it the
    prompt; the messages after that answer are left out.
    """
    if "messages" not in row:
        return dict(row)
    messages = conversation(row["messages"])
    last = max(index for index, (role, _) in enumerate(messages) if role == "assistant")
    prompt, context = TASKS[task].PROMPT_COLUMNS
    return {
        **row,
        "messages": [{"role": role, "content": said} for role, said in messages[: last + 1]],
        prompt: messages[last - 1][1],
        context: "",
        TASKS[task].COMPLETION_COLUMN: messages[last][1],
    }
