import pytest

from kerasft.data.synth.words import (
    counted,
    identifier,
    listing,
    literal,
    pluralize,
    singularize,
    split_identifier,
    spoken_date,
    with_article,
)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("unit price", "unit prices"),
        ("policy", "policies"),
        ("day", "days"),
        ("branch", "branches"),
        ("address", "addresses"),
        ("movie", "movies"),
        ("species", "species"),
        ("date of birth", "dates of birth"),
    ],
)
def test_plural_and_back(one: str, many: str) -> None:
    assert pluralize(one) == many
    assert singularize(many) == one


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("price", "a price"),
        ("age", "an age"),
        ("hourly rate", "an hourly rate"),
        ("unit price", "a unit price"),
        ("status", "a status"),
        ("calories", "calories"),
    ],
)
def test_article(phrase: str, said: str) -> None:
    assert with_article(phrase) == said


def test_lists_numbers_and_dates() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"], "or") == "a, b or c"
    assert counted(1, "dollars") == "1 dollar"
    assert counted(2.0, "dollars") == "2 dollars"
    assert counted(1, "million dollars") == "1 million dollars"
    assert spoken_date("2021-03-05") == "March 5, 2021"


def test_identifiers_are_quoted_only_where_needed() -> None:
    assert identifier("unit_price") == "unit_price"
    assert identifier("order") == '"order"'
    assert identifier("unit price") == '"unit price"'
    assert identifier('a"b') == '"a""b"'
    assert split_identifier("UnitPrice") == split_identifier("unit_price") == "unit price"
    assert split_identifier("HTTPCode2") == "http code2"


def test_literals() -> None:
    assert literal("O'Neil") == "'O''Neil'"
    assert literal(3.0) == "3"
    assert literal(3.25) == "3.25"
    assert literal(None) == "NULL"
