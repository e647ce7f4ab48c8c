"""The command, on wrong usage and, once, on real engines in their own processes."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from safetensors.numpy import load_file, save_file

from kerasft.cli.comparison_tables import tables
from kerasft.cli.main import cli
from kerasft.compare.result import CHECKS, Check, Comparison
from kerasft.recipe import to_toml
from tests.report.made import made_comparison
from tests.small import TINY, say_rows, small_recipe, write_rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give either run folders, or --recipe"),
        (["run", "--recipe", "sql"], "Give either run folders, or --recipe"),
        (["run", "--seeds", "3"], "go with --recipe"),
        (["--recipe", "sql", "--engines", "hf,tensorflow"], "tensorflow: expected some of"),
        (["--recipe", "sql", "--eval", "--limits 3"], "No such option"),
        (["--recipe", "sql", "--eval", "--out there"], "takes no --out"),
        (["--recipe", "sql", "--eval", "", "--no-eval"], "either --eval or --no-eval"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_trained(words: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["compare", *words])
    assert result.exit_code == 2 and said in result.output


def printed(result: Comparison) -> str:
    shown = Console(width=200, file=io.StringIO())
    for each in tables(result):
        shown.print(each)
    return shown.file.getvalue()


def test_the_terminal_has_the_numbers_of_the_report() -> None:
    shown = printed(made_comparison())
    for part in ("- on cuda NVIDIA H100", "The parity gate passed", "25.25 ± 0.25 ms", "4.70 GiB"):
        assert part in shown, part
    assert "trl (not ranked)" in shown and "61 questions on which they differ" in shown
    assert re.search(r"keras-torch and hf +dev: execution accuracy +all 3 +30 +25 +3,102", shown)
    assert re.search(r"in all, .*, later seeds +– +always ahead +always behind +–", shown)


def test_the_terminal_tells_why_nothing_is_ranked() -> None:
    check = Check("hf", "initial loss", 0.3, 1e-4, False, [0], "2.5 and 3.3")
    unranked = [dataclasses.replace(each, ranked=False) for each in made_comparison().contenders]
    why = ["hf: it did not pass the parity gate: initial loss"]
    result = made_comparison(gate=[check], contenders=unranked, ranked=False, why_not=why)
    shown = printed(result)
    for part in (
        "failed for hf: nothing here is ranked",
        f"- {why[0]}",
        "hf, initial loss: 2.5 and",
    ):
        assert part in shown, part
    assert "times as long" not in shown and "best" not in shown and "always" not in shown


def two_blocks(folder: Path) -> Path:
    """The tiny model without its upper blocks, which take JAX time to compile."""
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 2, "layer_types": config["layer_types"][:2]}
    (folder / "config.json").write_text(json.dumps(config))
    upper = tuple(f"model.layers.{index}." for index in range(2, 6))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith(upper)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_three_engines_on_one_recipe_pass_the_gate(tmp_path: Path) -> None:
    """Real processes: the windows, the starting values and the arithmetic of three engines."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("jax")
    source = write_rows(tmp_path / "rows.jsonl", say_rows(20))
    recipe = small_recipe(
        source,
        model__preset=str(two_blocks(tmp_path / "model")),
        lora__target_layers=["query", "value"],
        train__packing=True,
        train__sequence_length=64,
        train__max_steps=3,
        eval__samples=0,
    )
    (tmp_path / "small.toml").write_text(to_toml(recipe), "utf-8")
    out = tmp_path / "out"
    words = ["compare", "--recipe", str(tmp_path / "small.toml"), "--out", str(out), "--json"]
    words += ["--engines", "keras-torch,keras-jax,hf", "--price-per-hour", "2"]
    result = CliRunner().invoke(cli, words)
    logs = "\n".join(path.read_text() for path in (out / "logs").glob("*.log"))
    assert result.exit_code == 0, result.output + logs
    found = Comparison.read(out)
    assert json.loads(result.stdout)["ranked"] and found.ranked, logs
    assert [check.what for check in found.gate] == [*CHECKS, *CHECKS]
    assert all(check.passed for check in found.gate)
    assert {each.layout for each in found.contenders} == {"peft"}
    assert {each.trained_parameters for each in found.contenders} == {
        found.contenders[0].trained_parameters
    }
    for each in found.contenders:
        (run,) = each.runs
        assert run.steps == 3 and len(run.losses) == 3 and run.tokens_per_second
    assert (out / "report.html").is_file()
