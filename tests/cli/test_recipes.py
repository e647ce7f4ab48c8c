"""`kerasft recipes`."""

import json

import pytest

from kerasft import recipe
from kerasft.cli.main import run
from kerasft.cli.output import size
from kerasft.cli.recipes import annotated
from kerasft.data import prompts

CUSTOM = """
task = "instruct"
[model]
preset = "gemma3-270m"
[data]
source = "rows.jsonl"
[prompt]
template = "custom"
mask_prompt = false
[prompt.custom]
prompt = "Q: {instruction}\\n"
completion = "{response}"
"""


def test_list_names_the_shipped_ones(capsys):
    assert run(["recipes", "list"]) == 0
    shown = capsys.readouterr().out
    for name in recipe.names():
        assert any(line.startswith(name + " ") for line in shown.splitlines())
    assert run(["recipes", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == recipe.names()
    assert listed[0].keys() == {"name", "task", "preset", "data", "description"}


@pytest.mark.parametrize("name", recipe.names())
def test_what_show_prints_is_the_recipe(name, capsys, tmp_path):
    assert run(["recipes", "show", name, "--set", "train.seed=7"]) == 0
    file = tmp_path / "shown.toml"
    file.write_text(capsys.readouterr().out, "utf-8")
    assert recipe.load(str(file)) == recipe.load(name, ["train.seed=7"])


def test_show_gives_the_reason_of_each_setting(capsys):
    assert run(["recipes", "show", "sql"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\n# ", " ").split())
    for path, _, _, reason in recipe.fields():
        if not path.startswith("prompt.custom."):
            assert " ".join(reason.split()) in shown, path
    assert shown.count(" alpha is not set") == 1


def test_a_template_of_the_recipes_own_is_shown_as_toml_has_it(tmp_path):
    file = tmp_path / "custom.toml"
    file.write_text(CUSTOM, "utf-8")
    resolved = recipe.load(str(file))
    again = tmp_path / "again.toml"
    again.write_text(annotated(resolved), "utf-8")
    assert recipe.load(str(again)) == resolved


def test_show_as_json(capsys):
    assert run(["recipes", "show", "dolly-gemma-2b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["learning_rate"] == 5e-5


def test_copy_keeps_the_comments_and_overwrites_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["recipes", "copy", "sql"]) == 0
    assert (tmp_path / "sql.toml").read_bytes() == recipe.find("sql").read_bytes()
    assert "kerasft train --recipe sql.toml" in capsys.readouterr().out
    (tmp_path / "sql.toml").write_text("mine")
    assert run(["recipes", "copy", "sql"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "sql.toml").read_text() == "mine"
    (tmp_path / "folder").mkdir()
    assert run(["recipes", "copy", "dolly", "folder", "--json"]) == 0
    assert (tmp_path / "folder" / "dolly.toml").is_file()
    assert run(["recipes", "copy", "dolly", "dolly.txt"]) == 1
    assert "ends in .toml" in capsys.readouterr().err


def test_validate_tells_every_fault_of_every_file(capsys, tmp_path):
    bad, template = tmp_path / "bad.toml", tmp_path / "template.toml"
    bad.write_text(CUSTOM.replace("[data]", "[dat]") + "[train]\nepochs = 0\n")
    template.write_text(CUSTOM.replace("{response}", "{respones}"))
    assert run(["recipes", "validate", "sql", str(bad), str(template)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "sql: valid\n"
    for part in ("dat: unknown key; did you mean data?", "train.epochs", "data: required"):
        assert part in shown.err
    assert "did you mean {response}?" in shown.err
    assert run(["recipes", "validate", "sql", str(bad), "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"recipe": "sql", "fault": None}
    assert "train.epochs" in second["fault"]


def test_every_shipped_recipe_validates_its_template_too(capsys):
    assert run(["recipes", "validate", *recipe.names()]) == 0
    assert capsys.readouterr().err == ""


def test_every_template_is_named_where_the_setting_is_explained():
    reasons = {path: reason for path, _, _, reason in recipe.fields()}
    for task in ("text_to_sql", "instruct"):
        for name in prompts.names(task):
            assert f"`{name}`" in reasons["prompt.template"]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2e15, "2000.0 TB"),
    ],
)
def test_sizes(count, shown):
    assert size(int(count)) == shown
