"""SQL text in a normal written form, by which two declarations can be compared."""

import re

# Strings, quoted names (three ways), comments, words and numbers, and any other character.
_TOKENS = re.compile(
    r"""(?P<text>'(?:[^']|'')*')"""
    r"""|(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])"""
    r"""|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<word>[\w.$]+)|(?P<other>\S)""",
    re.DOTALL,
)


def tokens(sql):
    """The tokens of a statement as (kind, text): names bare and words in lower case.

    kind is "text", "name" (it was quoted), "word" or "other"; comments are left out.
    """
    found = []
    for match in _TOKENS.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind == "name":
            text = text[1:-1].lower()
        elif kind != "text":
            text = text.lower()
        if kind != "comment":
            found.append((kind, text))
    return found


def written(found):
    """Tokens as one line: single spaces, none beside brackets and before commas."""
    line = " ".join(text for _, text in found)
    return re.sub(r" ([),;])", r"\1", line.replace("( ", "("))


def normal(sql):
    return written(tokens(sql))


def checks(create_table):
    """The CHECK constraints of a CREATE TABLE statement, each as `check (…)`."""
    found, position, listed = tokens(create_table), 0, []
    while position < len(found):
        if found[position] == ("word", "check") and found[position + 1 : position + 2] == [
            ("other", "(")
        ]:
            end = _closing(found, position + 1)
            listed.append("check " + written(found[position + 1 : end + 1]))
            position = end
        position += 1
    return listed


def index_columns(create_index):
    """What stands after the table's name: `(a, b desc) where a > 0`."""
    found = tokens(create_index)
    start = next(i for i, token in enumerate(found) if token == ("other", "("))
    return written([token for token in found[start:] if token != ("other", ";")])


def trigger_body(create_trigger):
    """A trigger without its name: when it fires and what it does."""
    found = tokens(create_trigger)
    start = found.index(("word", "trigger")) + 1
    if [text for _, text in found[start : start + 3]] == ["if", "not", "exists"]:
        start += 3
    start += 1  # its name
    if found[start][1] == ".":
        start += 2
    return "trigger " + written(found[start:])


def _closing(found, opening):
    depth = 0
    for position in range(opening, len(found)):
        if found[position][0] == "other":
            depth += {"(": 1, ")": -1}.get(found[position][1], 0)
        if depth == 0:
            return position
    return len(found) - 1
