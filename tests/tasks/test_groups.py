"""Scores of groups: who belongs to one, and when there are any."""

from dataclasses import dataclass

from kerasft.tasks.groups import by_group


@dataclass
class Judged:
    kind: str | None
    size: str


def test_a_field_splits_where_its_values_differ() -> None:
    judgements = [Judged("b", "s"), Judged("a", "s"), Judged(None, "s"), Judged("b", "s")]
    split = by_group(judgements, ("kind", "size"), lambda own: {"rows": len(own)})
    assert split == {"by_kind": {"a": {"rows": 1}, "b": {"rows": 2}}}
    assert list(split["by_kind"]) == ["a", "b"]
    assert by_group([], ("kind",), lambda own: {}) == {}
