"""Answers from a loaded model: one as a stream, or many in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from kerasft.data.examples import encode_prompt
from kerasft.data.tokens import StreamDecoder
from kerasft.engine.decode import Sampling
from kerasft.engine.loaded import LoadedModel
from kerasft.tasks import TASKS


def prompt_row(model: LoadedModel, prompt: str, context: str = "") -> dict[str, Any]:
    """A row whose prompt is a text: the question or instruction, and its context.

    For a template of conversations it is the first message, with the context below it.
    """
    if model.template.takes_messages:
        content = f"{prompt}\n\n{context}" if context.strip() else prompt
        return {"messages": [{"role": "user", "content": content}]}
    first, second = TASKS[model.task].PROMPT_COLUMNS
    return {first: prompt, second: context}


def prompt_ids(model: LoadedModel, row: Mapping[str, Any] | str) -> list[int]:
    """What an answer is generated from.

    Args:
        model: whose template is filled.
        row: with the template's columns; or a text, taken as it is after BOS.
    """
    if isinstance(row, str):
        return [model.tokenizer.bos_id, *model.tokenizer.encode(row)]
    return encode_prompt(row, model.template, model.tokenizer)


def stream(
    model: LoadedModel,
    row: Mapping[str, Any] | str,
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> Iterator[str]:
    """Pieces of an answer as they come; together they are the answer.

    Args:
        model: a loaded model.
        row: see `prompt_ids`.
        max_new_tokens: tokens at the most.
        sampling: greedy where not given.
    """
    decoder = StreamDecoder(model.tokenizer)
    # The decoder calls back; a thread turns its calls into an iterator.
    queue: SimpleQueue[str | BaseException | None] = SimpleQueue()

    left = Event()

    def push(tokens: list[int | None]) -> None:
        if left.is_set():
            raise GeneratorExit
        if tokens[0] is not None:
            queue.put(decoder.push(tokens[0]))

    def work() -> None:
        try:
            model.decoder.generate(
                [prompt_ids(model, row)],
                max_new_tokens=max_new_tokens,
                stop_ids=model.stop_ids,
                sampling=sampling,
                on_tokens=push,
            )
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while (piece := queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        yield decoder.flush()
    finally:
        # A reader that leaves early has the model for itself again.
        left.set()
        thread.join()


def answer_rows(
    model: LoadedModel,
    rows: Sequence[Mapping[str, Any] | str],
    *,
    max_new_tokens: int,
    batch_size: int,
    sampling: Sampling | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """One answer a row, decoded in batches of rows of like length.

    Args:
        rows: see `prompt_ids`.
        max_new_tokens: tokens an answer at the most.
        batch_size: rows decoded together.
        sampling: greedy where not given.
        on_batch: told how many rows are answered.

    Returns:
        The answers in the order of the rows, space around them cut off.
    """
    prompts = [prompt_ids(model, row) for row in rows]
    # The longest first: the memory that their batch takes then serves the others, with the
    # steps that were recorded or compiled for it.
    order = sorted(range(len(rows)), key=lambda index: -len(prompts[index]))
    answers = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        generated = model.decoder.generate(
            [prompts[index] for index in chosen],
            max_new_tokens=max_new_tokens,
            stop_ids=model.stop_ids,
            sampling=sampling,
        )
        for index, ids in zip(chosen, generated, strict=True):
            answers[index] = model.tokenizer.decode(ids).strip()
        on_batch(start + len(chosen))
    return answers
