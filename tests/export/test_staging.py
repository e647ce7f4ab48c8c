"""A folder appears whole or not at all."""

import pytest

from kerasft.errors import ExportError
from kerasft.export.staging import staged_folder


def test_the_folder_is_there_only_after_the_block(tmp_path):
    out = tmp_path / "new" / "out"
    with staged_folder(out) as folder:
        (folder / "a").write_text("a")
        assert not out.exists()
    assert (out / "a").read_text() == "a"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_when_the_block_fails(tmp_path, error):
    with pytest.raises(error), staged_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with staged_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("a")
    with pytest.raises(ExportError, match="not empty"), staged_folder(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty" / "a").read_text() == "a"
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file"), staged_folder(tmp_path / "file"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]
