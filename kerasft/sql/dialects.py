"""Which dialect a text of SQL was written in, and where its statements end."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sqlglot.tokens import Token

Dialect = Literal["sqlite", "mysql", "postgres", "tsql"]

# What SQLite and the other dialects do not have, the surest signs first. The names are
# sqlglot's, which reads them.
_SIGNS: list[tuple[Dialect, str]] = [
    ("mysql", r"\bAUTO_INCREMENT\b | \bENGINE\s*=\s*\w | \bLOCK\s+TABLES\b"),
    ("tsql", r"\bIDENTITY\s*\( | \bNVARCHAR\s*\( | \b(GETDATE|DATEPART)\s*\( | \[dbo\]"),
    ("tsql", r"\bDATEADD\s*\( | \bDATEDIFF\s*\(\s*\w+\s*,[^,]+, | \bSELECT\s+TOP\s+\d"),
    ("postgres", r"\b(SMALL|BIG)?SERIAL\b | :: | \w\[\] | \bARRAY\s*\[ | \bILIKE\b | \$\$"),
    ("postgres", r"\b(NEXTVAL|DATE_TRUNC|STRING_AGG|TO_CHAR|TO_DATE|AGE)\s*\( | \bFROM\s+STDIN\b"),
    ("postgres", r"\bINTERVAL\s+'[^']*[a-z] | \bCHARACTER\s+VARYING\b | \bJSONB\b"),
    ("mysql", r"`|\bUNSIGNED\b | \bENUM\s*\( | \b(CURDATE|DATE_SUB|DATE_ADD|DATE_FORMAT)\s*\("),
    ("mysql", r"\b(STR_TO_DATE|DATEDIFF|TIMESTAMPDIFF|YEAR|MONTH|DAY|IFNULL|RAND)\s*\("),
    ("mysql", r"\bINTERVAL\s+\d+\s+\w | \bNOW\s*\("),
    ("postgres", r"\bCREATE\s+SCHEMA\b | \bEXTRACT\s*\( | \bINTERVAL\s+' | \w\.\w+\.\w"),
    ("postgres", r"\b(TABLE|INTO|FROM|JOIN|UPDATE|EXISTS)\s+(?!main\.|temp\.)\w+\.\w"),
]
_COMPILED = [(dialect, re.compile(sign, re.I | re.X)) for dialect, sign in _SIGNS]
_STRINGS = re.compile(r"'(?:[^']|'')*'")
_CODE = frozenset(["TRIGGER", "FUNCTION", "PROCEDURE", "EVENT"])
_OPENING = frozenset(["BEGIN", "CASE"])
_AFTER_END = frozenset(["IF", "LOOP", "WHILE", "REPEAT", "FOR"])


def guess_dialect(sql: str) -> Dialect:
    """The dialect of the first sign that the text has outside strings; `sqlite` if it has none.

    A schema before a table's name is a sign of Postgres, though other dialects have it too: it
    is read in the same way.
    """
    # INTERVAL '1 month' is a sign that stands in a string.
    bare = _STRINGS.sub(lambda m: m[0] if len(m[0]) < 24 and " " in m[0] else "''", sql)
    for dialect, sign in _COMPILED:
        if sign.search(bare):
            return dialect
    return "sqlite"


def statements(sql: str, dialect: Dialect) -> Iterator[str]:
    """The statements of a script, each as it stands there, without its semicolon.

    A trigger, function, procedure or event is one statement with all that its body holds.

    Raises:
        sqlglot.errors.TokenError: a quote or comment is never closed.
    """
    from sqlglot.dialects.dialect import Dialect as Reader
    from sqlglot.tokens import TokenType

    tokens: list[Token] = []
    for token in Reader.get_or_raise(dialect).tokenize(sql):
        if token.token_type == TokenType.SEMICOLON and not _inside_code(tokens):
            if tokens:
                yield sql[tokens[0].start : tokens[-1].end + 1]
            tokens = []
        else:
            tokens.append(token)
    if tokens:
        yield sql[tokens[0].start : tokens[-1].end + 1]


def _inside_code(tokens: "list[Token]") -> bool:
    """Whether these tokens begin a piece of stored code whose body is not ended."""
    words = [token.text.upper() for token in tokens]
    if words[:1] != ["CREATE"] or _CODE.isdisjoint(words[:8]):
        return False
    depth = 0
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in _OPENING:
            depth += 1
        elif word == "END" and after not in _AFTER_END:
            depth -= 1
    return depth > 0
