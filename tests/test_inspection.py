"""What `inspect` says of rows is what is in them, and what is wrong stops it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kerasft import inspection
from kerasft.cli.inspect import inspect as command
from kerasft.data.tokens import from_folder
from kerasft.errors import DataError
from kerasft.recipe import Recipe, resolve

ROW = {"question": "How many?", "context": "CREATE TABLE t (a INT);", "sql": "SELECT 1;"}


def rows(count: int, long: int = 0) -> list[dict[str, str]]:
    made = [{**ROW, "question": f"How many {index}?"} for index in range(count)]
    made += [{**ROW, "question": f"{index} " + "why " * 400} for index in range(long)]
    return made


@pytest.fixture
def recipe(tmp_path: Path, tiny_gemma3: Path) -> Recipe:
    write(tmp_path / "data" / "train.jsonl", rows(40, long=3))
    return resolve(
        {
            "task": "text_to_sql",
            "model": {"preset": str(tiny_gemma3)},
            "data": {"source": str(tmp_path / "data"), "validation": 10},
            "prompt": {"template": "gemma"},
            "train": {"sequence_length": 128, "batch_size": 4},
        }
    )


@pytest.fixture
def recipe_file(recipe: Recipe, tmp_path: Path) -> str:
    from kerasft.recipe import to_toml

    path = tmp_path / "mine.toml"
    path.write_text(to_toml(recipe), "utf-8")
    return str(path)


def write(path: Path, made: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")


def test_counts_lengths_and_shapes(recipe: Recipe, tiny_gemma3: Path) -> None:
    found = inspection.inspect(recipe, from_folder(tiny_gemma3))
    train, held = found.splits
    assert (train.rows, held.rows) == (33, 10)
    assert sum(split.rows - split.examples for split in found.splits) == 3
    assert sum(sum(split.dropped.values()) for split in found.splits) == 3
    assert len(train.lengths) == train.rows and train.lengths == sorted(train.lengths)
    over = [length for split in found.splits for length in split.lengths if length > 128]
    assert len(over) == 3
    assert found.stop == ["<end_of_turn>", "<eos>"]
    assert found.steps_per_epoch == sum(found.shapes.values()) == -(-found.packed_rows // 4)
    ((_, rows, length, _),) = found.shapes
    assert (rows, length) == (4, 128)
    places = found.steps_per_epoch * 4 * 128
    assert found.padding_share == pytest.approx(1 - train.tokens / places)
    assert found.faults == []
    assert train.quantiles["longest"] == max(train.lengths)


def test_without_packing_rows_are_counted_alone(recipe: Recipe, tiny_gemma3: Path) -> None:
    apart = recipe.model_copy(update={"train": recipe.train.model_copy(update={"packing": False})})
    found = inspection.inspect(apart, from_folder(tiny_gemma3))
    assert found.packed_rows is None
    assert found.steps_per_epoch == sum(found.shapes.values()) == -(-found.splits[0].examples // 4)


def test_a_samples_weights_cover_its_answer(recipe: Recipe, tiny_gemma3: Path) -> None:
    for sample in inspection.inspect(recipe, from_folder(tiny_gemma3)).samples:
        trained = "".join(token.text for token in sample.tokens if token.weight)
        assert trained == "SELECT 1;<end_of_turn>"


def test_rows_of_other_splits_of_a_folder_are_found(
    recipe: Recipe, tiny_gemma3: Path, tmp_path: Path
) -> None:
    asked_again = [{**row, "question": row["question"].upper()} for row in rows(40)]
    write(tmp_path / "data" / "test.jsonl", asked_again)
    found = inspection.inspect(recipe, from_folder(tiny_gemma3))
    train_shorts = found.splits[0].examples
    assert found.shared == {"validation": 0, "test.jsonl": train_shorts}
    assert found.faults == []


DAMAGES = {
    "zero weights": lambda ids, weights: (ids, weights * 0),
    "BOS stands": lambda ids, weights: (ids[1:], weights[1:]),
    "not trained": lambda ids, weights: (ids[:-1], weights[:-1]),
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Examples as a faulty encoder would make them."""
    whole = inspection.encode_rows

    def encode_rows(*args):
        encoded = whole(*args)
        damaged = []
        for example in encoded.examples:
            ids, weights = DAMAGES[request.param](example.token_ids, example.loss_weights)
            damaged.append(dataclasses.replace(example, token_ids=ids, loss_weights=weights))
        return dataclasses.replace(encoded, examples=damaged)

    monkeypatch.setattr(inspection, "encode_rows", encode_rows)
    return {"zero weights": "every loss weight is zero"}.get(request.param, request.param)


def test_damage_stops_it_after_it_was_shown(damage: str, recipe_file: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(command, ["--recipe", recipe_file, "--out", str(out)])
    assert result.exit_code == 1 and isinstance(result.exception, DataError)
    assert damage in str(result.exception)
    assert "tokens" in result.output
    assert damage in json.loads((out / "inspect.json").read_text())["faults"][0]


def test_damage_as_json(damage: str, recipe_file: str, tmp_path: Path) -> None:
    arguments = ["--recipe", recipe_file, "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert damage in json.loads(result.stdout)["faults"][0]


def test_the_command_writes_and_prints(recipe_file: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(command, ["--recipe", recipe_file, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "⟦SELECT 1;<end_of_turn>⟧" in result.output
    assert "rows dropped, longer than sequence_length = 128 tokens" in result.output
    assert re.search(r"packing: \d+ examples in \d+ rows, \d\.\d a row; ", result.output)
    assert re.search(r"in 1 shape: \d+ of 1 × 4 × 128 tokens", result.output)
    assert (out / "lengths.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((out / "inspect.json").read_text())
    assert written["schema_version"] == 1 and written["faults"] == []
    assert sum(written["splits"][0]["lengths"]["counts"]) == written["splits"][0]["rows"]


def test_other_rows_can_be_looked_at(recipe_file: str, tmp_path: Path) -> None:
    write(tmp_path / "other.jsonl", rows(20))
    arguments = ["--recipe", recipe_file, "--data", str(tmp_path / "other.jsonl"), "--json"]
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "out")])
    assert json.loads(result.stdout)["counts"]["rows"] == 20


def test_nothing_heavy_is_loaded(recipe_file: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from kerasft.cli.inspect import inspect\n"
        f"inspect(['--recipe', {recipe_file!r}, '--out', {str(tmp_path / 'o')!r}, '--json'],"
        " standalone_mode=False)\n"
        "heavy = {'keras', 'keras_hub', 'torch', 'jax', 'tensorflow', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(inspection.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"
