"""Lengths of time as people write them."""

import pytest

from kerasft import recipe
from kerasft.durations import seconds_of, written
from kerasft.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("8h30m", 30_600), ("1h0m1s", 3601)]
)
def test_hours_minutes_and_seconds_in_this_order(text, seconds):
    assert seconds_of(text) == seconds_of(f" {text}") == seconds
    assert seconds_of(written(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "m5", "1m1h", "1.5h", "-1s", "0s", "1 h", "soon"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="such as 30s, 15m or 8h30m"):
        seconds_of(text)


def test_written_is_to_the_second():
    assert [written(n) for n in (0, 59.6, 61, 3600, 90_061)] == [
        "0s",
        "1m",
        "1m1s",
        "1h",
        "25h1m1s",
    ]


def test_a_recipe_tells_a_budget_that_is_none():
    assert recipe.load("sql", ["train.time_budget=8h30m"]).train.time_budget == "8h30m"
    with pytest.raises(RecipeError, match=r"train\.time_budget: expected a length of time"):
        recipe.load("sql", ["train.time_budget=later"])
