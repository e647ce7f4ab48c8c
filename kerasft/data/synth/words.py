"""Small pieces of English and of SQL text: plurals, articles, lists, identifiers, literals."""

import re
from collections.abc import Sequence
from datetime import date

_IRREGULAR = {
    "person": "people",
    "child": "children",
    "species": "species",
    "series": "series",
    "aircraft": "aircraft",
    "movie": "movies",
    "genus": "genera",
    "staff": "staff",
    "news": "news",
    "media": "media",
}
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}
_CONSONANT_SOUND = ("uni", "use", "usa", "euro", "one", "unit")
_VOWEL_SOUND = ("hour", "honest", "honor", "heir")


def vocabulary(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_KEYWORDS = vocabulary(
    """
    abort action add after all alter always analyze and as asc attach autoincrement before begin
    between by cascade case cast check collate column commit conflict constraint create cross
    current current_date current_time current_timestamp database date day default deferrable
    deferred delete desc detach distinct do drop each else end escape except exclude exclusive
    exists explain fail filter first following for foreign from full generated glob group groups
    having if ignore immediate in index indexed initially inner insert instead intersect
    interval into is isnull join key last left like limit match materialized month natural no
    not nothing notnull null nulls of offset on or order others outer over partition plan pragma
    preceding primary query raise range recursive references regexp reindex release rename
    replace restrict returning right rollback row rows savepoint select session set show table
    temp temporary then ties time timestamp to transaction trigger unbounded union unique update
    user using vacuum values view virtual when where window with without year
    """
)
"""SQLite's keywords, and a few words that other engines reserve."""


PEOPLE_NOUNS = vocabulary(
    """
    actor agent artist athlete author buyer candidate client coach customer director doctor
    driver employee guest member owner parent passenger patient person player professor pupil
    rider seller singer staff student teacher user voter worker writer
    people person conductor professional contestant visitor singer highschooler winner loser
    commander commanders
    """
)
"""Nouns of people, in the singular."""


def pluralize(phrase: str) -> str:
    """The phrase in the plural: `unit prices`, `dates of birth`."""
    if " of " in phrase:
        head, _, rest = phrase.partition(" of ")
        return f"{pluralize(head)} of {rest}"
    head, _, word = phrase.rpartition(" ")
    if word in _IRREGULAR:
        plural = _IRREGULAR[word]
    elif re.search(r"[^aeiou]y$", word):
        plural = word[:-1] + "ies"
    elif re.search(r"(s|x|z|ch|sh)$", word):
        plural = word + "es"
    else:
        plural = word + "s"
    return f"{head} {plural}".strip()


def singularize(phrase: str) -> str:
    """The phrase with its last word in the singular: `invoice items` -> `invoice item`."""
    if " of " in phrase:
        head, _, rest = phrase.partition(" of ")
        return f"{singularize(head)} of {rest}"
    head, _, word = phrase.rpartition(" ")
    if word in _SINGULAR:
        singular = _SINGULAR[word]
    elif word.endswith("ies") and len(word) > 4:
        singular = word[:-3] + "y"
    elif re.search(r"(ss|x|ch|sh)es$", word):
        singular = word[:-2]
    elif word.endswith("s") and not re.search(r"(ss|us|is)$", word) and len(word) > 3:
        singular = word[:-1]
    else:
        singular = word
    return f"{head} {singular}".strip()


def is_plural(phrase: str) -> bool:
    """Whether the phrase reads as a plural, so that it takes no article."""
    return singularize(phrase) != phrase and phrase.split(" ")[-1] not in _IRREGULAR


def with_article(phrase: str) -> str:
    """`a price`, `an hourly rate`; a plural stays bare."""
    if is_plural(phrase):
        return phrase
    lower = phrase.lower()
    vowel = lower[0] in "aeiou" and not lower.startswith(_CONSONANT_SOUND)
    return f"{'an' if vowel or lower.startswith(_VOWEL_SOUND) else 'a'} {phrase}"


def listing(parts: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def counted(number: int | float, noun: str) -> str:
    """A number and its noun, given in the plural: `1 dollar`, `30 dollars`, `5 km`."""
    digits = plain_number(number)
    if not noun:
        return digits
    return f"{digits} {singularize(noun) if number == 1 and ' ' not in noun else noun}"


def plain_number(value: int | float) -> str:
    """The number in digits, a whole one without a decimal point."""
    return str(int(value)) if value == int(value) else repr(value)


def spoken_date(iso: str) -> str:
    """`2021-03-05` -> `March 5, 2021`."""
    day = date.fromisoformat(iso)
    return f"{day:%B} {day.day}, {day.year}"


def split_identifier(name: str) -> str:
    """The words of an SQL name in any script: `UnitPrice`, `unit_price` -> `unit price`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.sub(r"[\W_]+", " ", spaced).split()).lower()


def identifier(name: str) -> str:
    """The name as SQL, quoted only where SQLite or a keyword asks for it."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.lower() not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """The value as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return plain_number(value)
    return "'" + str(value).replace("'", "''") + "'"
