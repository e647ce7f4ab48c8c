"""Callbacks that remember something get it back; others are left alone."""

import pytest

from kerasft.engine.callback_state import hand_back, states_of
from kerasft.errors import RunError


class Plain:
    """Has no state."""


class Best:
    def __init__(self, value=None):
        self.value = value

    def get_state(self):
        return self.value

    def set_state(self, state):
        self.value = state


class Worst(Best):
    pass


def test_each_gets_its_own_back_several_of_a_class_in_their_order():
    states = states_of([Plain(), Best([1, 2]), Worst("x"), Best(None)])
    first, second, other = Best(0), Best(0), Worst()
    assert hand_back([other, first, Plain(), second], states) == []
    assert (first.value, second.value, other.value) == ([1, 2], None, "x")


def test_one_that_is_missing_is_told_and_one_that_is_new_stays():
    new = Best(7)
    [note] = hand_back([new], states_of([Worst(1)]))
    assert "Worst is not given any more" in note and new.value == 7


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_what_json_does_not_hold_is_told_with_its_callback(value):
    with pytest.raises(RunError, match=r"Best cannot be kept.*give numbers, strings"):
        states_of([Best(value)])
