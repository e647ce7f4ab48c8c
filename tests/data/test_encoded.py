"""Kept rows are those that were encoded, and none that anything else would give."""

import dataclasses
import importlib.resources
import os

import numpy as np
import pytest

from kerasft.data import encoded
from kerasft.data.encoded import encoded_rows, key_of
from kerasft.data.examples import Encoded
from kerasft.data.prompts import template_for
from kerasft.data.tokens import SentencePieceTokenizer, Tokenizer, TokenizerJson
from kerasft.errors import DataError
from kerasft.recipe import PromptSettings
from tests.data.conftest import llama_json

CONTEXT = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);"
ROWS = [
    *[{"question": f"How many {n}?", "context": CONTEXT, "sql": f"SELECT {n};"} for n in range(5)],
    {"question": "Long?", "context": CONTEXT + " INSERT INTO t VALUES (2);" * 40, "sql": "SELECT;"},
    {"question": "Longer?", "context": "", "sql": "SELECT 1 " * 200},
]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(encoded, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "encoded"


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """One entry a call that really encodes."""
    made: list[int] = []
    original = encoded.encode_rows
    monkeypatch.setattr(
        encoded, "encode_rows", lambda *args: made.append(len(args[0])) or original(*args)
    )
    return made


def ask(tokenizer: Tokenizer, notes: list[str], rows=ROWS, **changes) -> Encoded:
    settings = PromptSettings(template="gemma", long_rows="trim", **changes)
    template = template_for(settings, "text_to_sql")
    return encoded_rows(rows, template, tokenizer, settings, 128, notes.append)


def assert_same(one: Encoded, other: Encoded) -> None:
    assert dataclasses.replace(one, examples=[]) == dataclasses.replace(other, examples=[])
    for left, right in zip(one.examples, other.examples, strict=True):
        assert left.row == right.row
        for name in ("token_ids", "loss_weights"):
            assert getattr(left, name).dtype == getattr(right, name).dtype
            assert np.array_equal(getattr(left, name), getattr(right, name))


def test_the_second_time_gives_the_same_without_encoding(gemma, notes, calls) -> None:
    fresh = ask(gemma, notes)
    assert (len(fresh.examples), len(fresh.dropped), fresh.trimmed) == (6, 1, 1)
    assert_same(ask(gemma, notes), fresh)
    assert (calls, notes) == ([len(ROWS)], [])


class TestKey:
    """Whatever the ids depend on, the key depends on."""

    @pytest.fixture
    def parts(self, gemma: Tokenizer) -> dict:
        settings = PromptSettings(template="gemma")
        template = template_for(settings, "text_to_sql")
        return dict(
            rows=ROWS, template=template, tokenizer=gemma, settings=settings, sequence_length=128
        )

    def test_is_stable(self, parts: dict, gemma: Tokenizer) -> None:
        again = SentencePieceTokenizer(gemma.files()["tokenizer.model"])
        copies = [dict(row) for row in ROWS]
        assert key_of(**parts) == key_of(**{**parts, "tokenizer": again, "rows": copies})

    def test_knows_nothing_of_columns_that_the_template_leaves_out(self, parts: dict) -> None:
        more = [{**row, "db_id": "x"} for row in ROWS]
        assert key_of(**{**parts, "rows": more}) == key_of(**parts)

    @pytest.mark.parametrize(
        "rows",
        [
            ROWS[:-1],
            ROWS[::-1],
            [{**ROWS[0], "sql": "SELECT 9;"}, *ROWS[1:]],
            [{**ROWS[0], "question": None}, *ROWS[1:]],
            [{key: value for key, value in ROWS[0].items() if key != "question"}, *ROWS[1:]],
        ],
        ids=["fewer", "other order", "other value", "no value", "no column"],
    )
    def test_rows(self, parts: dict, rows: list) -> None:
        assert key_of(**{**parts, "rows": rows}) != key_of(**parts)

    @pytest.mark.parametrize(
        "changes",
        [{"name": "x"}, {"prompt": "{question} "}, {"stop": "<eos>"}, {"context": "schema"}],
        ids=str,
    )
    def test_template(self, parts: dict, changes: dict) -> None:
        template = dataclasses.replace(parts["template"], **changes)
        assert key_of(**{**parts, "template": template}) != key_of(**parts)

    @pytest.mark.parametrize("changes", [{"mask_prompt": False}, {"long_rows": "trim"}], ids=str)
    def test_settings(self, parts: dict, changes: dict) -> None:
        settings = parts["settings"].model_copy(update=changes)
        assert key_of(**{**parts, "settings": settings}) != key_of(**parts)

    def test_sequence_length(self, parts: dict) -> None:
        assert key_of(**{**parts, "sequence_length": 129}) != key_of(**parts)

    def test_tokenizer(self, parts: dict, llama: Tokenizer) -> None:
        ends = TokenizerJson(llama_json(), "<|begin_of_text|>", "<|eot_id|>")
        keys = {
            key_of(**{**parts, "tokenizer": each}) for each in (parts["tokenizer"], llama, ends)
        }
        assert len(keys) == 3

    def test_packages(self, parts: dict, monkeypatch) -> None:
        before = key_of(**parts)
        monkeypatch.setattr(encoded.importlib.metadata, "version", lambda name: "0.0")
        assert key_of(**parts) != before

    def test_format(self, parts: dict, monkeypatch) -> None:
        before = key_of(**parts)
        monkeypatch.setattr(encoded, "_FORMAT", 0)
        assert key_of(**parts) != before

    @pytest.mark.parametrize("name", encoded._CODE)
    def test_code(self, parts: dict, monkeypatch, tmp_path, name: str) -> None:
        before = key_of(**parts)
        source = importlib.resources.files("kerasft.data")
        for each in encoded._CODE:
            text = source.joinpath(f"{each}.py").read_bytes()
            (tmp_path / f"{each}.py").write_bytes(text + b"#" * (each == name))
        monkeypatch.setattr(encoded.importlib.resources, "files", lambda package: tmp_path)
        assert key_of(**parts) != before


def only_entry(cache):
    (path,) = cache.iterdir()
    return path


@pytest.mark.parametrize("how", ["cut", "empty", "byte", "other file", "folder"])
def test_a_damaged_entry_is_made_again_and_said(gemma, notes, calls, cache, how: str) -> None:
    fresh = ask(gemma, notes)
    path = only_entry(cache)
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[:-100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "byte":  # one token id
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "other file":
        from safetensors.numpy import save_file

        save_file({"token_ids": np.zeros(3, np.int32)}, path)
    else:
        path.unlink()
        path.mkdir()
    assert_same(ask(gemma, notes), fresh)
    assert len(calls) == 2 and "is damaged" in notes[0]
    if how != "folder":
        assert_same(ask(gemma, notes), fresh)
        assert len(calls) == 2 and len(notes) == 1


def test_a_cache_that_cannot_be_written_is_said_and_harmless(gemma, notes, cache) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert len(ask(gemma, notes).examples) == 6
    assert "were not kept" in notes[0]


def test_rows_with_faults_are_not_kept(gemma, notes, cache, monkeypatch) -> None:
    with pytest.raises(DataError, match="row 1"):
        ask(gemma, notes, [ROWS[0], {"question": "x"}])

    def failing(*args):
        raise DataError("wrong mask")

    monkeypatch.setattr(encoded, "check_examples", failing)
    with pytest.raises(DataError, match="wrong mask"):
        ask(gemma, notes)
    assert not cache.exists()


def test_the_least_recently_used_entries_make_room(gemma, notes, cache, calls, monkeypatch) -> None:
    for count in (3, 4, 5):
        ask(gemma, notes, ROWS[:count])
    entries = sorted(cache.iterdir(), key=lambda path: path.stat().st_size)
    for age, path in enumerate(entries):
        os.utime(path, (1000 - age, 1000 - age))  # the smallest is the newest
    ask(gemma, notes, ROWS[:5])  # and the largest was used last
    monkeypatch.setattr(encoded, "ROOM_BYTES", sum(path.stat().st_size for path in entries))
    ask(gemma, notes, ROWS[:2])
    assert not entries[1].exists() and entries[0].exists() and entries[2].exists()
    assert len(list(cache.iterdir())) == 3 and len(calls) == 4


def test_what_is_larger_than_the_room_is_not_kept(gemma, notes, cache, monkeypatch) -> None:
    monkeypatch.setattr(encoded, "ROOM_BYTES", 100)
    ask(gemma, notes)
    assert not cache.exists() and not notes
