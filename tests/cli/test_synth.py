import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kerasft.cli.synth import synth
from kerasft.errors import DataError


def test_writes_rows_and_counts_them(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    result = CliRunner().invoke(synth, ["--rows", "30", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert told["rows"] == len(rows) == 30
    assert sum(told["patterns"].values()) == sum(told["difficulties"].values()) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_table_says_generated(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    arguments = ["--rows", "20", "--out", str(out), "--domains", "library, film"]
    result = CliRunner().invoke(synth, arguments)
    assert result.exit_code == 0, result.output
    assert "20 generated rows" in result.output
    domains = {json.loads(line)["domain"] for line in out.read_text("utf-8").splitlines()}
    assert domains == {"library", "film"}


def test_db_and_domains_exclude_each_other(tmp_path: Path) -> None:
    arguments = ["--rows", "1", "--out", str(tmp_path / "x"), "--db", "a.db", "--domains", "film"]
    result = CliRunner().invoke(synth, arguments)
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("old\n")
    arguments = ["--rows", "1", "--out", str(out), "--db", str(tmp_path / "absent.db")]
    with pytest.raises(DataError, match="is not there"):
        CliRunner().invoke(synth, arguments, catch_exceptions=False)
    assert out.read_text() == "old\n"
    assert not (tmp_path / "absent.db").exists()
