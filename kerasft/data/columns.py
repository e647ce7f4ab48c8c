"""The columns of a task's rows, and the names under which public data sets have them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a task.

    Attributes:
        aliases: names it is found under, the first that is there is taken.
        required: a source without it is refused.
        empty: whether a row may leave it empty.
    """

    aliases: tuple[str, ...]
    required: bool = True
    empty: bool = False


COLUMNS: Mapping[str, Mapping[str, Column]] = {
    "text_to_sql": {
        "question": Column(("question", "sql_prompt")),
        "context": Column(("context", "sql_context", "schema"), empty=True),
        "sql": Column(("sql", "query", "answer")),
    },
    "instruct": {
        "instruction": Column(("instruction", "prompt", "question")),
        "context": Column(("context", "input"), required=False, empty=True),
        "response": Column(("response", "output", "completion", "answer")),
    },
    "chat": {"messages": Column(("messages",))},
}
"""By task; `chat` stands for rows of `messages`, whatever the task."""

ANSWERS = ("sql", "response")
"""Columns that hold what is learned; the others make the prompt."""

EXTRAS = (
    "difficulty",
    "db_id",
    "sql_complexity",
    "task_type",
    "sql_task_type",
    "category",
    "domain",
    "generated",
    "database",
)
"""Columns that are kept as they are where a source has them: to group scores by, and the file
that a row's SQL runs on."""
