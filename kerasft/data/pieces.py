"""The grammar of template text: slots, optional sections and markers."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kerasft.errors import DataError


@dataclass(frozen=True)
class Text:
    """Plain text, encoded without special tokens."""

    text: str


@dataclass(frozen=True)
class Marker:
    """One special token, by its text."""

    name: str


Piece = Text | Marker


@dataclass(frozen=True)
class Slot:
    name: str


@dataclass(frozen=True)
class Section:
    nodes: tuple["Node", ...]


Node = Text | Marker | Slot | Section

_SYNTAX = re.compile(
    r"(?P<brace>\{\{|\}\})"
    r"|\{(?P<slot>\w+)\}"
    r"|(?P<marker><\|[^\s<>|]+\|>|<(?:bos|eos|pad|(?:start|end)_of_\w+)>)"
    r"|(?P<stray>[{}])"
)
_OPTIONAL = re.compile(r"\[\[((?:(?!\[\[|\]\]).)*\{\w+\}(?:(?!\[\[|\]\]).)*)\]\]", re.DOTALL)


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Node, ...]:
    """The nodes of a template text.

    Raises:
        DataError: a brace that opens or closes no slot.
    """
    nodes: list[Node] = []
    position = 0
    for section in _OPTIONAL.finditer(text):
        nodes.extend(_parse_flat(text[position : section.start()]))
        nodes.append(Section(tuple(_parse_flat(section.group(1)))))
        position = section.end()
    nodes.extend(_parse_flat(text[position:]))
    return tuple(nodes)


def _parse_flat(text: str) -> list[Node]:
    nodes: list[Node] = []
    position = 0
    for match in _SYNTAX.finditer(text):
        nodes.append(Text(text[position : match.start()]))
        position = match.end()
        if match["stray"]:
            raise DataError(
                f"template text {text!r}: {match['stray']!r} opens or closes no "
                "{column} slot; a brace itself is written twice"
            )
        if match["brace"]:
            nodes.append(Text(match["brace"][0]))
        elif match["slot"]:
            nodes.append(Slot(match["slot"]))
        else:
            nodes.append(Marker(match["marker"]))
    nodes.append(Text(text[position:]))
    return nodes


def slot_names(nodes: Iterable[Node]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        if isinstance(node, Slot):
            found.append(node.name)
        elif isinstance(node, Section):
            found.extend(slot_names(node.nodes))
    return found


def marker_names(nodes: Iterable[Node]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        if isinstance(node, Marker):
            found.append(node.name)
        elif isinstance(node, Section):
            found.extend(marker_names(node.nodes))
    return found


def filled(nodes: Iterable[Node], values: Mapping[str, str]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for node in nodes:
        if isinstance(node, Section):
            if all(values[slot] for slot in slot_names(node.nodes)):
                pieces.extend(filled(node.nodes, values))
        elif isinstance(node, Slot):
            pieces.append(Text(values[node.name]))
        else:
            pieces.append(node)
    return merged(pieces)


def merged(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Adjacent texts as one, so that they are encoded as the one string they are."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Text) and joined and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + piece.text)
        elif piece != Text(""):
            joined.append(piece)
    return tuple(joined)
