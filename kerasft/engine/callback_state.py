"""What a user's callbacks remember, as a checkpoint holds it.

A callback takes part by having `get_state()`, which gives what JSON holds, and
`set_state(state)`. A resumed run makes its callbacks anew and hands each the state of the
callback of its class, before `on_train_begin`; several of one class in the order in which
they are given.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kerasft.errors import RunError


def states_of(callbacks: Sequence[Any]) -> list[dict[str, Any]]:
    """`class` and `state` of each callback that has both methods.

    Raises:
        RunError: a state that JSON does not hold.
    """
    states = []
    for callback in callbacks:
        if not _takes_part(callback):
            continue
        state, name = callback.get_state(), type(callback).__name__
        try:
            json.dumps(state, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RunError(
                f"the callback {name} cannot be kept in a checkpoint: its get_state() gave what "
                f"JSON does not hold ({error}); give numbers, strings, lists and dictionaries"
            ) from error
        states.append({"class": name, "state": state})
    return states


def hand_back(callbacks: Sequence[Any], states: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give callbacks their states back; a note for each class whose callback is missing now."""
    waiting = [callback for callback in callbacks if _takes_part(callback)]
    notes = []
    for kept in states:
        own = next((each for each in waiting if type(each).__name__ == kept["class"]), None)
        if own is None:
            notes.append(f"the callback {kept['class']} is not given any more; its state is gone")
            continue
        waiting.remove(own)
        own.set_state(kept["state"])
    return notes


def _takes_part(callback: Any) -> bool:
    return callable(getattr(callback, "get_state", None)) and callable(
        getattr(callback, "set_state", None)
    )
