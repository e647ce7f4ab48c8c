"""`kerasft ask`: what is printed in each form, that no cell acts on a terminal, and the prompt."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from kerasft import sql_writer
from kerasft.asking import Asker
from kerasft.cli import prompting
from kerasft.cli.answers import AnswerPrinter, plan_text
from kerasft.cli.cells import escaped, fitted, json_cell, result_table, shown
from kerasft.cli.main import run
from kerasft.cli.output import console
from kerasft.cli.prompting import Prompt, history
from kerasft.errors import DataError
from kerasft.sql.sandbox import Outcome
from kerasft.sql.schema import BadText
from tests.asking import CannedWriter, shop

ANSWERS = {
    "names": ["SELECT name, city FROM customer ORDER BY id"],
    "odd": ["SELECT a, b FROM odd"],
    "drop": ["DROP TABLE customer"],
    "wrong": ["SELECT nme FROM customer", "SELECT count(*) AS n FROM customer"],
    "totals": [
        "SELECT name, sum(total) AS spent FROM customer JOIN orders ON customer.id = customer "
        "GROUP BY name ORDER BY spent DESC"
    ],
    "both wrong": ["SELECT 1 FROM nowhere", "SELECT 2 FROM nowhere"],
    "endless": [
        "WITH RECURSIVE a (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT count(*) FROM a"
    ],
    "café": ["SELECT 1 AS one"],
    "caf?": ["SELECT 1 AS one"],
    "marked": ['SELECT "\u202eabc" FROM nowhere'],
    "fenced": ["```sql\nSELECT 1 AS one\n```"],
}


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command on the shop, its model being a canned one: code, stdout, stderr."""
    database = shop(tmp_path / "shop.db")
    writer = CannedWriter(ANSWERS)
    monkeypatch.setattr(sql_writer, "open_writer", lambda *_, **__: writer)

    def call(*args: str, stdin: str | None = None, tty: bool = False) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if stdin is not None:
                patch.setattr(sys, "stdin", io.StringIO(stdin))
            if tty:
                patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            code = run(["ask", "--db", str(database), *args])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    call.writer = writer
    return call


def test_the_sql_and_its_rows(ask):
    code, out, err = ask("names")
    lines = [line.rstrip() for line in out.splitlines()]
    assert (code, err.strip()) == (0, "")
    assert lines == [
        "SELECT name, city FROM customer ORDER BY id",
        "name  city",
        "Ada   Oslo",
        "Bo    NULL",
        "Cy    Oslo",
        "3 rows.",
    ]


def test_on_a_terminal_the_sql_is_written_as_it_comes_and_once(ask):
    _, out, _ = ask("names", tty=True)
    assert out.count("SELECT") == 1
    _, out, _ = ask("fenced", tty=True)
    assert out.startswith("```sql\nSELECT 1 AS one\n```\nSELECT 1 AS one\n")


def test_rows_are_capped_and_said_so(ask):
    _, out, _ = ask("names", "--limit", "2")
    assert "The first 2 rows; there are more (--limit 2)." in out and "Cy" not in out


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_no_cell_acts_on_a_terminal(ask, form):
    _, out, err = ask("odd", *form, tty=True)
    printed = out + err
    assert "\x1b[2J" not in printed and "\u202e" not in printed
    assert ("\\u001b" if "--json" in form else "\\x1b") + "[2J[red]x" in printed
    assert "\\u202eabc" in printed


def test_binary_values_and_broken_text_in_every_form(ask):
    _, out, _ = ask("odd")
    assert "0x00ff10 (3 bytes)" in out and f"0x{'00' * 8}… (20 bytes)" in out
    assert "\\x1b[2J[red]x\\ny" in out and "\ufffdA" in out
    _, out, err = ask("odd", "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["a", "b"] and rows[1] == ["\x1b[2J[red]x\ny", "0x00ff10"]
    assert rows[3][1] == "" and "SELECT" in err
    _, out, _ = ask("odd", "--json")
    assert json.loads(out)["rows"][2] == ["\u202eabc", None]
    assert json_cell(float("nan")) is None and json_cell(BadText(b"\xffA")) == "\ufffdA"


def test_json_has_the_whole_answer(ask):
    code, out, _ = ask("names", "--json", "--explain")
    answer = json.loads(out)
    assert code == 0 and answer["columns"] == ["name", "city"] and len(answer["rows"]) == 3
    assert answer["status"] == "ok" and answer["retried"] == 0 and "SCAN" in answer["plan"]


def test_an_sql_error_is_shown_with_its_sql(ask):
    code, out, err = ask("wrong")
    assert code == 1 and "SELECT nme" in out and "no such column: nme" in err and "--retry" in err
    code, out, _ = ask("wrong", "--json")
    assert code == 1 and json.loads(out)["status"] == "invalid_sql"
    code, out, _ = ask("wrong", "--retry", "3")
    assert code == 0 and "The likeliest SQL failed; of 1 more of the beam the last one ran." in out
    assert ask.writer.widths == [3]
    code, _, err = ask("both wrong", "--retry", "3")
    assert code == 1 and "no such table" in err and "--retry" not in err


def test_a_statement_that_writes_is_refused_in_words(ask):
    code, _, err = ask("drop")
    assert code == 1 and "refused" in err and "only read" in err


def test_the_plan_and_a_chart(ask, tmp_path):
    chart = tmp_path / "plots" / "totals.png"
    code, out, _ = ask("totals", "--explain", "--chart", str(chart))
    assert code == 0 and chart.read_bytes().startswith(b"\x89PNG")
    assert f"Chart: {chart}" in out and "SCAN orders" in out
    _, out, _ = ask("names", "--chart", str(tmp_path / "none.png"))
    assert "No chart: no column of the result is a number to draw." in out
    assert not (tmp_path / "none.png").exists()


def test_rows_are_printed_before_a_chart_that_cannot_be_written_fails(ask, tmp_path):
    (tmp_path / "folder.png").mkdir()
    code, out, err = ask("totals", "--chart", str(tmp_path / "folder.png"))
    assert code == 1 and "Ada" in out and "cannot be written" in err


def test_a_query_that_is_too_slow_has_a_plan(ask):
    code, out, err = ask("endless", "--explain", "--timeout", "0.2")
    assert code == 1 and "SCAN a" in out and "--timeout" in err


def test_an_engines_message_does_not_act_on_a_terminal(ask):
    _, out, err = ask("marked", tty=True)
    assert "\u202e" not in out + err


def test_a_question_that_cannot_be_asked_does_not_stop_the_next(ask, monkeypatch):
    asked = Asker.ask

    def ask_one(self, question, on_text):
        if question == "odd":
            raise DataError("no table fits")
        return asked(self, question, on_text)

    monkeypatch.setattr(Asker, "ask", ask_one)
    code, out, err = ask("--json", stdin="odd\nnames\n")
    first, second = map(json.loads, out.splitlines())
    assert first == {"question": "odd", "error": "no table fits", "type": "DataError"}
    assert code == 1 and second["status"] == "ok" and "no table fits" in err


def test_pipes_are_utf_8_whatever_the_system_says(ask, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    lines = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfcaf\xc3\xa9\n"), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stdin", lines)
    assert ask()[0] == 0
    assert out.buffer.getvalue().decode("utf-8").splitlines()[0] == "? café"


def test_bytes_of_a_question_that_are_no_utf_8_are_replaced(ask):
    _, out, _ = ask("caf\udcff", "--json")
    assert json.loads(out)["question"] == "caf?"


def test_questions_from_a_pipe(ask):
    code, out, _ = ask(stdin="names\n\n  totals \n")
    assert code == 0 and out.index("? names") < out.index("Cy") < out.index("? totals")
    code, out, _ = ask("--json", stdin="names\nwrong\ntotals\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1  # one of them failed, and the others are answered all the same
    assert [answer["status"] for answer in answers] == ["ok", "invalid_sql", "ok"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["q", "--csv", "--json"], "not both"),
        (["q", "--chart", "x.svg"], "must end in .png"),
        (["--csv"], "go with one QUESTION"),
        ([" "], "question is empty"),
        (["q", "--retry", "1"], "--retry"),
    ],
)
def test_options_that_do_not_go_together(ask, args, message):
    code, _, err = ask(*args)
    assert code == 2 and message in " ".join(err.split())


def test_a_name_that_is_no_model_is_told_before_anything_is_loaded(tmp_path, capsys):
    database = shop(tmp_path / "shop.db")
    assert run(["ask", "q", "--db", str(database), "--model", "no-such-model"]) == 1
    assert "neither a run nor an adapter folder" in " ".join(capsys.readouterr().err.split())


def test_a_wrong_path_is_told_and_nothing_is_made(tmp_path, capsys):
    path = tmp_path / "nowhere.db"
    assert run(["ask", "q", "--db", str(path)]) == 1
    assert "does not exist" in capsys.readouterr().err and not path.exists()


@pytest.mark.parametrize(
    ("wanted", "width", "widths"),
    [
        ([5, 5], 80, [5, 5]),
        ([60, 5, 60], 80, [35, 5, 36]),
        ([60] * 9, 80, [14, 14, 14, 15, 15]),
        ([60], 10, [10]),
        ([], 10, []),
    ],
)
def test_the_widest_columns_are_cut_first_and_then_whole_ones(wanted, width, widths):
    assert fitted(wanted, width) == widths


def test_a_wide_result_says_what_it_hides(capsys):
    columns = [f"column{n}" for n in range(30)]
    table, hidden = result_table(columns, [tuple(range(30))], 80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "column0" in lines[0] and max(map(len, lines)) <= 80
    assert hidden == 30 - lines[0].count("column")


def test_an_empty_result_has_its_columns():
    table, hidden = result_table(["a", "b"], [], 80)
    assert [str(column.header) for column in table.columns] == ["a", "b"] and hidden == 0


def test_cells_are_one_line_of_plain_text():
    assert shown("a\tb\r\n").plain == "a\\tb\\r\\n"
    assert shown("[bold]x[/]").plain == "[bold]x[/]"
    assert shown(2.0).plain == "2.0" and shown(None).plain == "NULL"
    assert shown(35.81999999999999).plain == "35.82" and shown(float("inf")).plain == "inf"
    assert shown(123456789012345678).plain == "123456789012345678"
    assert escaped("日本 é") == "日本 é" and escaped("\ud800\u200b") == "\\ud800\\u200b"
    assert escaped("a\xad\U000e0041") == "a\\xad\\U000e0041"  # nothing is drawn for these


def test_a_plan_is_indented_by_its_nesting():
    rows = ((2, 0, 0, "OUTER"), (5, 2, 0, "INNER"), (7, 0, 0, "NEXT"))
    plan = Outcome("ok", ("id", "parent", "notused", "detail"), rows)
    assert plan_text(plan) == "OUTER\n  INNER\nNEXT"
    assert plan_text(Outcome("invalid_sql", message="near x")) == "No plan: near x"


class Typed:
    """A reader of lines that were typed before; an exception is a key that was pressed."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self.lines = list(lines)
        self.texts: list[str] = []

    def __call__(self, prompt: str, text: str = "") -> str:
        self.texts.append(text)
        line = self.lines.pop(0)
        if not isinstance(line, str):
            raise line
        return line


def prompted(tmp_path, *lines) -> Typed:
    typed = Typed(*lines)
    with Asker(shop(tmp_path / "shop.db"), CannedWriter(ANSWERS)) as asker:
        printer = AnswerPrinter(asker, "table", limit=100, explain=False, chart=None)
        assert Prompt(asker, printer, typed).run()
    return typed


def test_the_prompt_goes_on_after_errors_and_leaves_on_q(tmp_path, capsys):
    typed = prompted(tmp_path, "", KeyboardInterrupt, "wrong", "names", "\\q", "never")
    printed = capsys.readouterr()
    assert typed.lines == ["never"]
    assert "shop.db: 3 tables." in printed.out and "Cy" in printed.out
    assert "no such column" in printed.err


def test_the_prompt_ends_with_its_input(tmp_path):
    assert prompted(tmp_path, EOFError).lines == []


def test_commands_of_the_prompt(tmp_path, capsys):
    typed = prompted(
        tmp_path,
        "\\plan",
        "\\schema Customer",
        "\\schema nowhere",
        '\\schema "customer" orders',
        "names",
        "\\sql",
        "SELECT 7 AS seven",
        "\\plan",
        "\\sql DELETE FROM customer",
        "\\what",
        EOFError,
    )
    printed = capsys.readouterr()
    assert "there was no SQL yet" in printed.err and "no table nowhere" in printed.err
    assert printed.out.count("CREATE TABLE customer") == 2
    assert printed.out.count("CREATE TABLE orders") == 1
    assert ANSWERS["names"][0] in typed.texts  # the last SQL, to be edited
    assert "seven" in printed.out and "SCAN CONSTANT ROW" in printed.out
    assert "only read" in printed.err and "\\schema" in printed.out


def test_questions_are_kept_for_the_next_session(tmp_path, monkeypatch):
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("builtins.input", lambda prompt: "typed")
    with history() as read:
        assert read("? ") == "typed"
        readline.add_history("How many?")
    file = prompting.history_file()
    assert file == tmp_path / "cache" / "ask-history" and "How many?" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    readline.clear_history()
    with history():
        assert readline.get_history_item(1) == "How many?"
    readline.clear_history()


def test_a_history_that_cannot_be_kept_is_no_failure(tmp_path, monkeypatch):
    pytest.importorskip("readline")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "file" / "cache"))
    with history():
        pass
    assert not Path(tmp_path / "file" / "cache").exists()
