"""What a fine-tuned model is asked to do, one module a task.

A task module has `COLUMNS` (what a row must have), `OPTIONAL_COLUMNS`, `PROMPT_COLUMNS` (those
that fill the prompt's slots), `COMPLETION_COLUMN`, `score(rows, answers)` (one judgement a row,
a dataclass) and `summarise(judgements)` (a dict for JSON).
"""

from kerasft.tasks import instruct, text_to_sql

TASKS = {"text_to_sql": text_to_sql, "instruct": instruct}
