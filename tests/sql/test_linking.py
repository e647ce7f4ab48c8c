"""Which tables a question is linked to, and that those between them come along."""

import json
import sqlite3
from contextlib import closing

import pytest
from sqlglot import exp, parse_one

from kerasft.data.spider import load_schemas
from kerasft.sql.linking import link, phrases, relevance, stem
from kerasft.sql.schema import Column, ForeignKey, Schema, Table


def table(name: str, columns: str, **links: str) -> Table:
    """A table whose first column is its key; `column="Table"` is a foreign key."""
    named = [Column(column, "TEXT", False, int(not n)) for n, column in enumerate(columns.split())]
    keys = tuple(ForeignKey((column,), target, ()) for column, target in links.items())
    return Table(name, "table", tuple(named), keys, None)


MUSIC = Schema(
    "sqlite",
    (
        table("Album", "AlbumId Title ArtistId", ArtistId="Artist"),
        table("Artist", "ArtistId Name"),
        table("Customer", "CustomerId FirstName Country SupportRepId", SupportRepId="Employee"),
        table("Employee", "EmployeeId LastName HireDate"),
        table("Genre", "GenreId Name"),
        table("Invoice", "InvoiceId CustomerId InvoiceDate Total", CustomerId="customer"),
        table("InvoiceLine", "InvoiceLineId InvoiceId TrackId Quantity", InvoiceId="Invoice"),
        table("Track", "TrackId Name AlbumId GenreId Composer", GenreId="Genre", AlbumId="Album"),
    ),
)


def at_most(count: int):
    return lambda names: len(names) <= count


@pytest.mark.parametrize(
    ("question", "room", "kept"),
    [
        ("How many employees were hired in 2003?", 1, {"Employee"}),
        # InvoiceLine refers to Track by the name of its key alone.
        ("Which genres sell the highest quantity?", 3, {"Genre", "InvoiceLine", "Track"}),
        (
            "What is the total of the invoices of each artist's albums?",
            5,
            {"Artist", "Album", "Track", "InvoiceLine", "Invoice"},
        ),
        (
            "How much did each customer pay per invoice line?",
            3,
            {"Customer", "Invoice", "InvoiceLine"},
        ),
    ],
)
def test_tables_of_the_question_and_those_between_them(question, room, kept):
    linked = link(question, MUSIC, at_most(room))
    assert set(linked.kept) == kept
    assert set(linked.left_out) == {each.name for each in MUSIC.tables} - kept


def test_a_value_in_a_column_says_which_table():
    question = "Which ones come from Brazil?"
    assert link(question, MUSIC, at_most(1), matches={("Customer", "Country")}).kept == (
        "Customer",
    )


def test_nothing_in_common_keeps_what_fits_in_the_schemas_order():
    linked = link("Hm?", MUSIC, at_most(2))
    assert linked.kept == ("Album", "Artist")
    assert set(relevance("Hm?", MUSIC).values()) == {0.0}


def test_room_is_filled_beside_the_chosen():
    assert set(link("Which genre?", MUSIC, at_most(2)).kept) == {"Genre", "Track"}


def test_a_way_that_does_not_fit_leaves_the_table_itself():
    linked = link("Employees, and genre", MUSIC, at_most(2))
    assert set(linked.kept) == {"Employee", "Genre"}


def test_nothing_fits():
    linked = link("Which genre?", MUSIC, lambda names: False)
    assert linked.kept == () and len(linked.left_out) == len(MUSIC.tables)


@pytest.mark.parametrize(
    "words",
    [
        "country countries",
        "movie movies Movies",
        "employee employees",
        "composer composers composed compose",
        "ship shipped shipping shipper",
        "invoice invoices invoiced",
        "box boxes",
        "address addresses",
        "city cities",
        "hired hire",
        "price prices priced",
        "status",
    ],
)
def test_forms_of_a_word_have_one_stem(words):
    assert len({stem(word) for word in words.split()}) == 1


def test_different_words_keep_different_stems():
    words = "artist album track genre order employee status state address date rate line bus sell"
    assert len({stem(word) for word in words.split()}) == len(words.split())


def test_phrases_are_quoted_texts_and_runs_of_words():
    found = phrases("Who wrote 'For Those About To Rock (We Salute You)', of \"AC/DC\"?")
    assert found[:2] == ["for those about to rock (we salute you)", "ac/dc"]
    assert "wrote" in found and "who" not in found
    assert phrases("the tracks of Guns N' Roses")[0].startswith("the tracks of guns n")
    assert "guns n' roses" in phrases("the tracks of Guns N' Roses")


def test_spiders_gold_tables_are_among_the_chosen(shared_data):
    """On schemas of five tables and more, half of which fit: recall over dev questions."""
    schemas = {}
    for name, text in load_schemas(shared_data / "spider" / "tables.json").items():
        with closing(sqlite3.connect(":memory:")) as built:
            try:
                built.executescript(text)
            except sqlite3.Error:
                continue
            schemas[name] = _read(built)
    found = asked = 0
    for row in json.loads((shared_data / "spider" / "dev.json").read_text("utf-8")):
        schema = schemas[row["db_id"]]
        if len(schema.tables) < 5:
            continue
        gold = {each.name.lower() for each in parse_one(row["query"], "sqlite").find_all(exp.Table)}
        room = max(len(gold), -(-len(schema.tables) // 2))
        kept = {name.lower() for name in link(row["question"], schema, at_most(room)).kept}
        asked += 1
        found += gold <= kept
    assert asked > 200
    assert found / asked > 0.85


def _read(built: sqlite3.Connection) -> Schema:
    tables = []
    for (name,) in built.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        columns = built.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,))
        links = built.execute(
            'SELECT "from", "table" FROM pragma_foreign_key_list(?)', (name,)
        ).fetchall()
        tables.append(
            Table(
                name,
                "table",
                tuple(Column(column, kind, False, key) for column, kind, key in columns),
                tuple(ForeignKey((column,), target, ()) for column, target in links),
                None,
            )
        )
    return Schema("sqlite", tuple(tables))
