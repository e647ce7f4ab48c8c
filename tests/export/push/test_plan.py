"""A plan tells new from changed from same, and when a person has to agree."""

import hashlib

import pytest

from kerasft.errors import ExportError
from kerasft.export.push.destination import parse
from kerasft.export.push.plan import LocalFile, Remote, RemoteFile, plan

WHERE = parse("hf://someone/tiny")


def local(tmp_path, name: str, content: bytes) -> LocalFile:
    path = tmp_path / name.replace("/", "_")
    path.write_bytes(content)
    return LocalFile(name, path, len(content), hashlib.sha256(content).hexdigest())


def remote(*files: RemoteFile, versioned: bool = False) -> Remote:
    return Remote(private=True, revision="3", files=files, versioned=versioned)


@pytest.mark.parametrize(
    ("there", "state"),
    [
        ({"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}, "same"),
        ({"bytes": 3, "sha256": hashlib.sha256(b"abd").hexdigest()}, "changed"),
        ({"bytes": 3, "git_id": "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"}, "same"),
        ({"bytes": 3, "git_id": "0" * 40}, "changed"),
        ({"bytes": 4, "git_id": "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"}, "changed"),
        ({"bytes": 3}, "changed"),  # nothing tells that it is the same
    ],
)
def test_files_are_told_apart_by_hash_and_not_by_size(tmp_path, there, state):
    made = plan(WHERE, [local(tmp_path, "x", b"abc")], remote(RemoteFile("x", **there)))
    assert [file.state for file in made.files] == [state]


def test_a_git_id_is_the_one_that_git_computes(tmp_path):
    # `printf abc | git hash-object --stdin`
    expected = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"
    assert local(tmp_path, "x", b"abc").git_id() == expected


def test_consent_is_needed_for_what_is_not_ours_alone(tmp_path):
    files = [local(tmp_path, "a", b"a"), local(tmp_path, "b", b"b")]
    same = RemoteFile("a", 1, files[0].sha256)
    assert plan(WHERE, files, None).asks == []
    assert plan(WHERE, files, remote(same)).asks == []
    documents = [RemoteFile(".gitattributes", 9), RemoteFile("LICENSE", 9)]
    assert plan(WHERE, files, remote(same, *documents)).asks == []
    old = RemoteFile("old.bin", 9)
    assert plan(WHERE, files, remote(same, old)).asks == ["leaves old.bin beside the new files"]
    other = RemoteFile("b", 2)
    assert plan(WHERE, files, remote(other)).asks == ["replaces b"]
    assert plan(WHERE, files, remote(other, old, versioned=True)).asks == [
        "makes a version after 3 with another b and without old.bin"
    ]
    assert plan(WHERE, files[:1], remote(same, old)).asks == []  # nothing is sent
    empty = local(tmp_path, "c", b"")
    assert plan(WHERE, [empty], remote(RemoteFile("c", 2))).asks == ["replaces c"]


@pytest.mark.parametrize(
    "text",
    ["", "someone/tiny", "hf://tiny", "hf://a/b/c", "hf://a/../b", "kaggle://a/b", "hf:// a/b"],
)
def test_what_is_no_destination_says_what_one_is(text):
    with pytest.raises(ExportError, match=r"hf://user/name or kaggle://user/model/framework/"):
        parse(text)


def test_a_destination_prints_as_it_was_given():
    for text in ("hf://someone/tiny", "kaggle://someone/tiny/gguf/q8"):
        assert str(parse(text)) == text and parse(text).name == "tiny"
