"""The journal of an evaluation: what a stopped one finds again, and what it must not."""

import json
import os
import subprocess
import sys

import pytest

from kerasft.errors import RunError
from kerasft.evaluating.journal import Journal

ASKED = {"base": "abc", "max_new_tokens": 8, "versions": {"keras": "3.15.1"}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "eval" / "validation.partial.jsonl"


def begun(path, asked=ASKED):
    with Journal(path, asked) as journal:
        journal.add("answers of tuned", {0: "SELECT 1", 7: "naïve \u2028 text"}, 1.5)
        journal.add("answers of tuned", {2: ""}, 0.25)
        journal.add("answers of base", {0: ["a", "b"]}, 3.0)


def test_values_are_found_again_by_row(path):
    begun(path)
    with Journal(path, ASKED) as journal:
        assert journal.changed == []
        assert journal.known("answers of tuned") == {0: "SELECT 1", 7: "naïve \u2028 text", 2: ""}
        assert journal.known("answers of base") == {0: ["a", "b"]}
        assert journal.seconds("answers of tuned") == 1.75
        assert journal.known("grades") == {} and journal.seconds("grades") == 0.0


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_kill_left_half_written_is_cut_off(path, cut):
    begun(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Journal(path, ASKED) as journal:
        assert set(journal.known("answers of tuned")) == {0, 2, 7}
        assert journal.known("answers of base") == {}
        journal.add("answers of base", {0: ["a", "b"]}, 3.0)
    assert path.read_bytes() == whole


def test_garbage_after_a_power_cut_ends_what_is_taken_up(path):
    begun(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\0" * 40 + b"\n", *lines[2:]]))
    with Journal(path, ASKED) as journal:
        assert set(journal.known("answers of tuned")) == {0, 7}


def test_another_question_begins_anew_and_says_what_changed(path):
    begun(path)
    with Journal(path, {**ASKED, "max_new_tokens": 9, "rows": 4}) as journal:
        assert journal.changed == ["max_new_tokens", "rows"]
        assert journal.known("answers of tuned") == {}
        journal.add("answers of tuned", {1: "x"}, 1.0)
    with Journal(path, {**ASKED, "max_new_tokens": 9, "rows": 4}) as journal:
        assert journal.known("answers of tuned") == {1: "x"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b'{"asked": 3}\n', b"not json\n"])
def test_a_file_that_is_no_journal_is_begun_anew(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with Journal(path, ASKED) as journal:
        assert journal.known("answers of tuned") == {}
        journal.add("answers of tuned", {1: "x"}, 1.0)
    assert len(path.read_text("utf-8").splitlines()) == 2


def test_no_file_is_left_where_nothing_was_worked_out(path):
    with Journal(path, ASKED):
        assert path.exists()
    assert not path.exists()
    begun(path)
    with Journal(path, ASKED) as journal:
        journal.remove()
    assert not path.exists()


def test_two_evaluations_do_not_write_one_file(path):
    with Journal(path, ASKED) as journal:
        journal.add("answers of tuned", {1: "x"}, 1.0)
        code = (
            "from pathlib import Path; import sys; from kerasft.evaluating.journal import Journal\n"
            "Journal(Path(sys.argv[1]), {'other': 1})"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert "another evaluation is writing" in second.stderr
    with Journal(path, ASKED) as journal:
        assert journal.known("answers of tuned") == {1: "x"}


def test_a_file_is_dropped_where_open_ones_cannot_be_removed(path, monkeypatch):
    """Windows refuses to remove a file that is open."""
    unlink = type(path).unlink
    journal = Journal(path, ASKED)

    def refused(self, missing_ok=False):
        if not journal._file.closed:
            raise PermissionError(13, "in use")
        unlink(self, missing_ok)

    monkeypatch.setattr(type(path), "unlink", refused)
    with journal:
        journal.add("answers of tuned", {1: "x"}, 1.0)
        journal.remove()
    assert not path.exists()


def test_a_second_head_ends_what_is_taken_up(path):
    begun(path)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:2], whole[0], *whole[2:]]))
    with Journal(path, ASKED) as journal:
        assert set(journal.known("answers of tuned")) == {0, 7}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_refuses_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"):
        Journal(tmp_path / "x.jsonl", ASKED)


def test_a_path_that_is_a_folder_is_told(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        Journal(tmp_path, ASKED)


def test_a_secret_of_the_environment_is_not_kept(path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "canary-0123456789")
    with Journal(path, {**ASKED, "device": "canary-0123456789"}) as journal:
        journal.add("answers of tuned", {1: "x"}, 1.0)
    assert "canary" not in path.read_text("utf-8")
    assert json.loads(path.read_text("utf-8").splitlines()[0])["asked"]["base"] == "abc"
