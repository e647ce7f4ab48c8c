"""The command that asks for the same, read back by the command line itself."""

import shlex
from dataclasses import replace

import pytest

from kerasft.cli.eval import evaluate
from kerasft.errors import KerasftError
from kerasft.evaluating.asked import Asked, check
from kerasft.recipe import as_settings

PLAIN = Asked(
    run_or_model="runs/sql 1",
    recipe=None,
    data=None,
    db=None,
    split=None,
    limit=None,
    base=False,
    perplexity=True,
    forgetting=None,
    retry=0,
    judge=None,
    judge_model=None,
    judge_prices=None,
    out=None,
    backend=None,
    settings=(),
)
EVERYTHING = replace(
    PLAIN,
    recipe="sql",
    data="my rows.jsonl",
    db="a'b.sqlite",
    split="test",
    limit=0,
    base=True,
    perplexity=False,
    forgetting="dolly",
    retry=4,
    judge="http://localhost:1",
    judge_model="m",
    judge_prices=(0.5, 2.0),
    out="out",
    backend="jax",
    settings=("eval.batch_size=2", 'prompt.template="gemma"'),
)


@pytest.mark.parametrize("asked", [PLAIN, EVERYTHING])
def test_the_command_asks_for_the_same(asked):
    program, name, *words = shlex.split(asked.command())
    assert (program, name) == ("kerasft", "eval")
    given = evaluate.make_context("eval", words).params
    assert given.pop("target") == asked.run_or_model
    assert given.pop("overrides") == asked.settings
    assert not given.pop("as_json")
    given["retry"] = given["retry"] or 0
    given["out"] = given["out"] and str(given["out"])
    assert given == {name: getattr(asked, name) for name in given}


def test_settings_of_the_library_become_overrides():
    settings = {"eval.batch_size": 2, "data.only_empty": ["context"], "train.packing": False}
    words = shlex.split(replace(PLAIN, settings=settings).command())
    given = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert as_settings(given) == settings


def test_what_goes_together_has_its_folder(tmp_path):
    own = tmp_path / "run" / "eval"
    assert check(PLAIN, "text_to_sql", "text_to_sql", own) == own
    assert str(check(EVERYTHING, "text_to_sql", "text_to_sql", own)) == "out"
    assert not own.exists()  # nothing is made before there is something to put into it


def test_one_fault_is_a_sentence_and_several_are_a_list(tmp_path):
    with pytest.raises(KerasftError) as one:
        check(replace(PLAIN, db="x.db"), "text_to_sql", None, tmp_path)
    assert str(one.value).startswith("--db needs --data") and "\n" not in str(one.value)
    with pytest.raises(KerasftError) as several:
        wrong = replace(EVERYTHING, data=None, judge_model=None, limit=-1)
        check(wrong, "instruct", "text_to_sql", None)
    for fault in (
        "--forgetting compares",
        "the run was tuned for text_to_sql",
        "--limit",
        "--db needs",
        "--db is for",
        "--retry tries",
        "--judge",
    ):
        assert f"- {fault}" in str(several.value)


@pytest.mark.parametrize("name", ["file/eval", "a" * 300])
def test_a_folder_that_cannot_be_is_told(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasftError, match=r"cannot be written to; give another folder with --out"):
        check(PLAIN, "text_to_sql", None, tmp_path / name)
