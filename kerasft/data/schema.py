"""The schema in a text-to-SQL context: its CREATE statements, without its rows."""

import functools
import re

_TOKEN = re.compile(
    r"""
      (?P<quoted>'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z))
    | (?P<comment>--[^\n]* | /\*.*?(?:\*/|\Z))
    | (?P<end>;)
    | (?P<space>\s+)
    | (?P<other>[^'"`\[;\s/-]+ | .)
    """,
    re.VERBOSE | re.DOTALL,
)

_DEFINES = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?(?:TEMP(?:ORARY)?\s+)?"
    r"(?:EXTERNAL\s+|UNLOGGED\s+|VIRTUAL\s+|MATERIALIZED\s+)?(?:TABLE|VIEW)\b",
    re.IGNORECASE,
)


def statements(script: str) -> list[str]:
    """The statements of an SQL script, without comments and spare white space.

    Semicolons and spaces inside quotes are left alone. Each statement ends
    without its semicolon.
    """
    found: list[str] = []
    parts: list[str] = []
    for match in _TOKEN.finditer(script):
        if match.lastgroup == "end":
            found.append("".join(parts))
            parts = []
        elif match.lastgroup in ("space", "comment"):
            parts.append(" ")
        else:
            parts.append(match.group())
    found.append("".join(parts))
    return [tidy for text in found if (tidy := _tidy(text))]


@functools.lru_cache(maxsize=1024)
def schema_only(context: str) -> str:
    """The CREATE TABLE and CREATE VIEW statements of a context, one a line.

    A context without any (a schema in words, say) is returned as it is: it is
    all that a model would know.
    """
    kept = [statement for statement in statements(context) if _DEFINES.match(statement)]
    return "\n".join(f"{statement};" for statement in kept) or context


def _tidy(statement: str) -> str:
    """Spaces outside quotes: one where there were many, none inside brackets' edges."""
    parts: list[str] = []
    for match in _TOKEN.finditer(statement.strip()):
        text = match.group()
        if match.lastgroup == "space":
            if parts and not parts[-1].endswith(("(", " ")):
                parts.append(" ")
        else:
            if text[0] in "),;" and parts and parts[-1] == " ":
                parts.pop()
            parts.append(text)
    return "".join(parts)
