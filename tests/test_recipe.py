"""Recipes: defaults, overrides, every fault at once, and the shipped files."""

import tomllib

import pytest

from kerasft import recipe
from kerasft.errors import RecipeError

SMALL = {
    "task": "instruct",
    "model": {"preset": "gemma3-270m"},
    "data": {"source": "rows.jsonl"},
    "prompt": {"template": "instruction"},
}


def refusal(overrides: list[str], settings: dict = SMALL) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.resolve(settings, overrides)
    return str(caught.value)


def test_every_shipped_recipe_is_valid_and_described():
    names = recipe.names()
    assert {"sql", "dolly", "dolly-gemma-2b", "sql-gemma-2b", "sql-gemma2-2b-it"} < set(names)
    assert "sql-llama3.1-8b" in names
    assert {path.stem for path in recipe.shipped().rglob("*.toml")} == set(names)
    for name in names:
        assert recipe.load(name).description, name


@pytest.mark.parametrize("name", recipe.names())
def test_the_resolved_recipe_reads_back_as_itself(name, tmp_path):
    resolved = recipe.load(name)
    copy = tmp_path / "resolved.toml"
    copy.write_text(recipe.to_toml(resolved), "utf-8")
    assert recipe.load(str(copy)) == resolved


def test_the_tutorial_recipe_is_the_tutorial():
    tutorial = recipe.load("dolly-gemma-2b")
    assert (tutorial.model.preset, tutorial.data.limit) == ("gemma_2b_en", 1000)
    assert tutorial.data.only_empty == ["context"]
    assert (tutorial.lora.layout, tutorial.lora.rank, tutorial.lora.scale) == ("keras", 4, 1.0)
    train = tutorial.train
    assert (train.sequence_length, train.batch_size, train.epochs) == (256, 1, 1)
    assert not train.packing
    assert (train.learning_rate, train.weight_decay, train.schedule) == (5e-5, 0.01, "constant")
    assert not tutorial.prompt.mask_prompt


def test_all_defaults_are_written_out():
    written = tomllib.loads(recipe.to_toml(recipe.resolve(SMALL)))
    for path, _, default, _ in recipe.fields():
        section, _, key = path.rpartition(".")
        if default not in ("required", None) and section != "prompt.custom":
            assert (written[section] if section else written)[key] == default, path


@pytest.mark.parametrize(
    "text",
    [
        'plain "quoted" \\ back',
        "tab\t line\n end\r",
        "snow ☃ 𝒙",
        "\x00\x1b[31m\x7f",
        "# no comment",
    ],
)
def test_any_text_survives_the_toml(text):
    resolved = recipe.resolve({**SMALL, "description": text})
    assert tomllib.loads(recipe.to_toml(resolved))["description"] == text


def test_a_template_of_the_recipe_and_odd_column_names_survive():
    settings = {
        **SMALL,
        "data": {"source": "x.csv", "columns": {"instruction": "a b.c", "response": 'd"e'}},
        "prompt": {
            "template": "custom",
            "custom": {"prompt": "Q: {instruction}\n", "completion": "{response}"},
        },
    }
    resolved = recipe.resolve(settings)
    assert resolved.prompt.custom.stop == "<eos>"
    assert recipe.resolve(tomllib.loads(recipe.to_toml(resolved))) == resolved


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.learning_rate=5e-5", lambda r: r.train.learning_rate == 5e-5),
        ("train.learning_rate=1", lambda r: r.train.learning_rate == 1.0),
        ("train.max_steps = 20", lambda r: r.train.max_steps == 20),
        ("model.preset=hf://google/gemma-2b", lambda r: r.model.preset == "hf://google/gemma-2b"),
        (r"model.preset=C:\models\g.gguf", lambda r: r.model.preset == r"C:\models\g.gguf"),
        ('model.preset="123"', lambda r: r.model.preset == "123"),
        ("data.split=train[:10]", lambda r: r.data.split == "train[:10]"),
        ("data.columns.response=answer=", lambda r: r.data.columns == {"response": "answer="}),
        ('lora.target_layers=["up","down"]', lambda r: r.lora.target_layers == ["up", "down"]),
        ("prompt.mask_prompt=false", lambda r: r.prompt.mask_prompt is False),
        ("lora.alpha=8", lambda r: r.lora.scale == 2.0),
    ],
)
def test_overrides_are_toml_and_bare_words_are_text(override, read):
    assert read(recipe.resolve(SMALL, [override]))


def test_the_last_override_wins_and_the_settings_given_are_left_alone():
    assert recipe.resolve(SMALL, ["train.seed=1", "train.seed=2"]).train.seed == 2
    assert "train" not in SMALL


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.rnk=8", "lora.rnk: unknown key; did you mean lora.rank?"),
        ("lora.learning_rate=1", "did you mean train.learning_rate?"),
        ("trian.epochs=1", "trian: unknown key; did you mean train?"),
        ("lora.rank=0", "lora.rank: should be greater than or equal to 1, got 0"),
        ("lora.rank=true", "lora.rank: should be a valid integer, got True"),
        ("lora.rank='8'", "lora.rank: should be a valid integer, got '8'"),
        ("train.epochs=1.5", "train.epochs: should be a valid integer"),
        ("train.learning_rate=inf", "train.learning_rate: should be a finite number"),
        ("train.learning_rate=nan", "train.learning_rate: "),
        ("train.seed=2024-01-31", "train.seed: should be a valid integer"),
        ("lora.target_layers=['quary']", "lora.target_layers.0: should be 'query'"),
        ("lora.target_layers=[]", "lora.target_layers: "),
        ("model=5", "model: expected a table of settings, got 5"),
        ("task=sql", "task: should be 'text_to_sql' or 'instruct', got 'sql'"),
        ("task.name=sql", "--set task.name=sql: task is a value, not a section"),
        ("train.epochs", "--set train.epochs: expected section.key=value"),
        (".epochs=1", "--set .epochs=1: expected section.key=value"),
        ("prompt.template=custom", '[prompt.custom] and template = "custom" go together'),
        ("train.patience=3", "train.patience watches the validation loss"),
    ],
)
def test_a_wrong_override_is_refused_by_name(override, message):
    assert message in refusal([override])


def test_all_faults_come_at_once():
    message = refusal(
        ["lora.rnk=1", "train.epochs=0", "nonsense"], {"task": "instruct", "model": {}}
    )
    assert message.startswith("recipe has faults (6):")
    for part in ("lora.rnk", "train.epochs", "nonsense", "model.preset: required", "data: requ"):
        assert part in message


def test_a_misspelt_name_is_answered_with_the_near_one():
    with pytest.raises(RecipeError, match=r"no recipe 'doly'; did you mean 'dolly'\? The shipped"):
        recipe.load("doly")
    with pytest.raises(RecipeError, match=r"no recipe 'zzz'\. The shipped ones are dolly,"):
        recipe.load("zzz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"task = ", "is not a TOML file in UTF-8: Invalid value"),
        (b'task = "\xff"', "is not a TOML file in UTF-8"),
        (b"a = " + b"[" * 100_000, "is not a TOML file in UTF-8"),
        (b"", "task: required, but not given"),
    ],
    ids=["cut", "latin-1", "bottomless", "empty"],
)
def test_a_file_that_is_no_recipe(content, message, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        recipe.load(str(file))
    assert message in str(caught.value)


def test_a_missing_file_and_a_bom(tmp_path):
    file = tmp_path / "mine.toml"
    with pytest.raises(RecipeError, match="no recipe file at"):
        recipe.load(str(file))
    file.write_text(recipe.to_toml(recipe.resolve(SMALL)), "utf-8-sig")
    assert recipe.load(str(file)) == recipe.resolve(SMALL)


def test_each_field_has_a_type_and_a_reason():
    described = recipe.fields()
    paths = [path for path, *_ in described]
    assert len(paths) == len(set(paths))
    assert {"prompt.custom.stop", "lora.alpha", "description"} < set(paths)
    for path, kind, _, text in described:
        assert text.endswith("."), path
        assert "Annotated" not in kind and "ForwardRef" not in kind and "None" not in kind, kind
    kinds = {path: kind for path, kind, *_ in described}
    assert kinds["lora.rank"] == "integer ≥ 1 ≤ 1024"
    assert kinds["lora.alpha"] == "number > 0 | not set"
    assert kinds["lora.layout"] == "keras | peft"
