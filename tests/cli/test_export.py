"""`kerasft export`: which options go together, and what says so."""

import pytest

from kerasft.cli.main import run

OUT = ["--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--to FORMAT and --out DIR"),
        (["--to", "hf"], "--to FORMAT and --out DIR"),
        (OUT, "--to FORMAT and --out DIR"),
        (["--to", "onnx", *OUT], "'onnx' is not one of 'hf', 'peft', 'gguf', 'keras'"),
        (["--verify", "x", "--to", "hf"], "--verify DIR writes no model"),
        (["--verify", "x", "--share-rank"], "--verify DIR writes no model"),
        (["--verify", "x", "--with-base"], "--verify DIR writes no model"),
        (["--to", "hf", *OUT, "--dtype", "q8_0"], "Give --dtype bfloat16, float32, float16"),
        (["--to", "keras", *OUT, "--dtype", "int8"], "'int8' is not one of"),
        (["--to", "hf", *OUT, "--share-rank", "4"], "--share-rank is not for --to hf"),
        (["--to", "gguf", *OUT, "--share-rank"], "--share-rank is not for --to gguf"),
        (["--to", "gguf", *OUT, "--with-base"], "--with-base is not for --to gguf"),
        (["--to", "peft", *OUT, "--share-rank", "few"], "'few' is not a valid integer"),
        (["--to", "hf", *OUT, "--public"], "go with --push"),
        (["--to", "hf", *OUT, "--yes"], "go with --push"),
        (["--verify", "x", "--dry-run"], "go with --push"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_right(arguments, said, capfd):
    assert run(["export", "runs/none", *arguments]) == 2
    printed = capfd.readouterr().err
    assert "Usage" in printed and said in " ".join(printed.split()), printed


@pytest.mark.parametrize(
    ("given", "passed"),
    [([], None), (["--share-rank"], 0), (["--share-rank", "4"], 4)],
)
def test_a_shared_rank_may_be_left_to_the_run(given, passed, monkeypatch, capfd):
    import kerasft.export
    from kerasft.errors import ExportError

    asked = {}

    def fake(run, to, out, **options):
        asked.update(options, to=to)
        raise ExportError("far enough")

    monkeypatch.setattr(kerasft.export, "export_run", fake)
    arguments = ["export", "runs/none", "--to", "peft", "--out", "x", *given]
    assert run(arguments) == 1
    assert asked["share_rank"] == passed and asked["to"] == "peft"
