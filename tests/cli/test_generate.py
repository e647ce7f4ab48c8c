"""`kerasft generate`: reading prompts, and one answer on every way to it."""

import json

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_gemma3, backend):
    """A run of two steps on the tiny random Gemma."""
    folder = tmp_path_factory.mktemp("generate")
    lines = [json.dumps({"instruction": f"Say {n}", "response": str(n)}) for n in range(12)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "tiny.toml").write_text(
        f"""task = "instruct"
[model]
preset = {json.dumps(str(tiny_gemma3))}
dtype = "float32"
[data]
source = {json.dumps(str(folder / "rows.jsonl"))}
[prompt]
template = "instruction"
[train]
max_steps = 2
batch_size = 4
sequence_length = 64
"""
    )
    train = ["train", "--recipe", str(folder / "tiny.toml"), "--backend", backend]
    assert run([*train, "--out", str(folder / "run")]) == 0
    return folder


@pytest.mark.keras
@pytest.mark.once
def test_a_prompt_and_a_file_get_the_same_answers(trained, capsys):
    target, few = str(trained / "run"), ["--max-new-tokens", "6"]
    capsys.readouterr()
    assert run(["generate", target, "Say 3", *few, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["prompt"] == "Say 3"
    out = trained / "answers.jsonl"
    file = str(trained / "rows.jsonl")
    assert run(["generate", target, "--file", file, "--out", str(out), *few]) == 0
    answers = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["instruction"] for row in answers] == [f"Say {n}" for n in range(12)]
    assert answers[3]["answer"] == alone["answer"].strip()
    assert answers[3]["response"] == "3"


@pytest.mark.keras
@pytest.mark.once
def test_the_stream_of_text_is_the_answer(trained, capsys):
    target, few = str(trained / "run"), ["--max-new-tokens", "6"]
    capsys.readouterr()
    assert run(["generate", target, "Say 3", *few]) == 0
    streamed = capsys.readouterr().out
    assert run(["generate", target, "Say 3", *few, "--json"]) == 0
    assert streamed == json.loads(capsys.readouterr().out)["answer"] + "\n"


@pytest.mark.keras
@pytest.mark.once
def test_a_row_without_the_question_names_the_column(trained, capsys):
    file = trained / "wrong.jsonl"
    file.write_text('{"question": "Say 3"}')
    assert run(["generate", str(trained / "run"), "--file", str(file)]) == 1
    assert "needs the columns instruction" in capsys.readouterr().err


@pytest.mark.keras
@pytest.mark.once
def test_a_bare_model_continues_a_raw_prompt(tiny_gemma3, backend, capsys):
    options = ["--raw", "--backend", backend, "--max-new-tokens", "3", "--json"]
    assert run(["generate", str(tiny_gemma3), "number one", *options]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "number one"


@pytest.mark.keras
@pytest.mark.once
def test_too_little_memory_names_the_option(trained, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2147483648 bytes.")

    monkeypatch.setattr("kerasft.engine.decode.Decoder.generate", full)
    prompts = tmp_path / "a.txt"
    prompts.write_text("one\ntwo\nthree\nfour\n")
    out = tmp_path / "out.jsonl"
    arguments = ["generate", str(trained / "run"), "--file", str(prompts), "--out", str(out)]
    assert run([*arguments, "--batch-size", "8"]) == 1
    said = capsys.readouterr().err
    assert "answering 4 prompts together (2.0 GiB more" in said and "--batch-size 2" in said
    assert not out.exists()
    assert run(["generate", str(trained / "run"), "one"]) == 1
    assert "answering a prompt" in capsys.readouterr().err
