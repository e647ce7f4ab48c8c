"""Which results are charts, of what, and that a PNG comes of it whatever the cells hold."""

import math
from datetime import datetime

import pytest

from kerasft.charts import MOST_BARS, Chart, chart_of, draw
from kerasft.errors import KerasftError


def test_a_category_and_a_number_are_bars_in_the_results_order():
    chart = chart_of(["Name", "Total"], [("b", 2.5), (None, None), ("a", 7)])
    assert (chart.kind, chart.label, chart.number) == ("bar", "Name", "Total")
    assert chart.labels == ("b", "NULL", "a")
    assert chart.values[0::2] == (2.5, 7.0) and math.isnan(chart.values[1])


def test_identifiers_are_no_numbers_and_texts_are_one_category():
    rows = [(7, "Ada", "Berg", 3), (9, "Bo", "Carl", 4)]
    chart = chart_of(["CustomerId", "FirstName", "LastName", "paid"], rows)
    assert (chart.label, chart.number) == ("FirstName, LastName", "paid")
    assert chart.labels == ("Ada Berg", "Bo Carl")


@pytest.mark.parametrize(
    ("name", "cells", "times"),
    [
        ("InvoiceYear", (2011, 2009), (2009, 2011)),
        ("strftime('%Y', InvoiceDate)", ("2011", "2009"), (2009, 2011)),
        ("d", ("2009-02", "2009-01"), (datetime(2009, 1, 1), datetime(2009, 2, 1))),
        (
            "d",
            ("2009-01-02 10:30:00", "2009-01-02T08:00:00Z"),
            (datetime(2009, 1, 2, 8), datetime(2009, 1, 2, 10, 30)),
        ),
    ],
)
def test_a_time_and_a_number_are_a_line_in_the_order_of_time(name, cells, times):
    chart = chart_of([name, "sum(Total)"], [(cells[0], 1), (cells[1], 2), (None, 3)])
    assert chart == Chart("line", name, "sum(Total)", times, (2.0, 1.0))


def test_years_and_dates_in_one_column_are_texts():
    chart = chart_of(["year", "n"], [("2009", 1), ("2009-05-01", 2)])
    assert chart.kind == "bar" and chart.labels == ("2009", "2009-05-01")


def test_days_that_stand_for_no_end_are_texts():
    chart = chart_of(["until", "n"], [("2021-01-01", 1), ("9999-12-31", 2)])
    assert chart.kind == "bar" and chart.labels[1] == "9999-12-31"


def test_a_date_beside_a_text_is_part_of_the_category():
    chart = chart_of(["n", "d", "x"], [("a", "2009-01-01", 1), ("b", "2009-01-02", 2)])
    assert chart.kind == "bar" and chart.labels[0] == "a 2009-01-01"


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        (["a", "n"], [("x", 1)], "two rows or more, the result has 1"),
        (["a", "b"], [("x", "y"), ("z", "w")], "no column of the result is a number"),
        (["a", "TrackId"], [("x", 1), ("z", 2)], "no column of the result is a number"),
        (["n", "m"], [(1, 2), (3, 4)], "is a category or a time"),
        (["a", "n"], [(b"x", 1), (b"y", 2)], "is a category or a time"),
        (["a", "n"], [(str(n), n) for n in range(MOST_BARS + 1)], "41 bars are too many"),
        (["year", "n"], [(2009, 1), (2009, 2)], "year has a time more than once"),
        (["2021-13-01", "n"], [("2021-13-01", 1)], "two rows or more"),
    ],
)
def test_what_is_no_chart_says_why(columns, rows, reason):
    assert reason in chart_of(columns, rows)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (["a $x$", "n"], [("\\frac{1}$ and $2\x1b[31m", 1), ("日本", -2.5), ("l" * 500, None)]),
        (["year", "n"], [(2009, 1), (2010, 2)]),
        (["a", "n"], [("x", math.inf), ("y", math.nan)]),
        (["a", "n"], [("x", 1.7e308), ("y", -1.7e308)]),
        (["a", "n"], [("x", 2**62), ("y", -(2**62))]),
        (["d", "n"], [("2009-01-01", 1), ("2010-01-01", None)]),
    ],
)
def test_a_png_is_written_whole(tmp_path, columns, rows):
    path = tmp_path / "new" / "chart.png"
    draw(chart_of(columns, rows), "What costs $5, or $6?", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in path.parent.iterdir()] == ["chart.png"]


def test_a_chart_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "chart.png").mkdir()
    chart = chart_of(["a", "n"], [("x", 1), ("y", 2)])
    with pytest.raises(KerasftError, match="cannot be written"):
        draw(chart, "x", tmp_path / "chart.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["chart.png"]
