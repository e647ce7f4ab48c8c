"""`kerasft generate`: reading prompts. What a model answers is tested with the model."""

import pytest

from kerasft.cli.generate import read_prompts
from kerasft.cli.main import run
from kerasft.errors import DataError


def test_lines_of_text_and_rows_of_jsonl(tmp_path):
    text, rows = tmp_path / "a.txt", tmp_path / "a.jsonl"
    text.write_bytes("\ufeffHow many?\r\n\r\n  Which ones? \n".encode())
    rows.write_text('{"question": "How many\\u2028?", "context": ""}\n\n{"question": "b"}')
    assert read_prompts(text) == ["How many?", "Which ones?"]
    assert read_prompts(rows) == [{"question": "How many\u2028?", "context": ""}, {"question": "b"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a"\n[1]\n', r"has faults \(2\):\n  - line 2: .*\n  - line 3: .*got list"),
        (b"\xff\xfe", "is not UTF-8"),
        (b" \n\n", "has no prompt in it"),
    ],
)
def test_a_bad_file_is_refused_whole(tmp_path, content, message):
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_prompts(file)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x", "hello", "--file", __file__], "either a prompt, or --file"),
        (["x", "hello", "--out", "y"], "--out goes with --file"),
        (["x", "--file", __file__, "--context", __file__], "a column of each row"),
        (["x", "hello", "--raw", "--context", __file__], "no place for --context"),
        (["x", "hello"], "give --recipe, or --raw"),
        (["x", "hello", "--raw", "--top-p", "0"], "--top-p"),
        (["x", "hello", "--raw", "--temperature", "-1"], "--temperature"),
    ],
)
def test_options_that_do_not_go_together(args, message, capsys):
    assert run(["generate", *args]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
