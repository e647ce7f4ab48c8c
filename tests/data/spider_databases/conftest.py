"""A small schema in the form of Spider's tables.json."""

from typing import Any

import pytest

_COLUMNS = (
    (-1, "*", "text"),
    (0, "Singer_ID", "number"),
    (0, "Name", "text"),
    (0, "Country", "text"),
    (0, "Age", "number"),
    (1, "Concert_ID", "number"),
    (1, "Title", "text"),
    (1, "Year", "text"),
    (2, "Concert_ID", "number"),
    (2, "Singer_ID", "text"),
)


@pytest.fixture
def entry() -> dict[str, Any]:
    """Singers, concerts, and who sang where; of that key only the first column is given."""
    return {
        "db_id": "music",
        "table_names": ["singer", "concert", "singer in concert"],
        "table_names_original": ["singer", "concert", "singer_in_concert"],
        "column_names": [[table, name.replace("_", " ").lower()] for table, name, _ in _COLUMNS],
        "column_names_original": [[table, name] for table, name, _ in _COLUMNS],
        "column_types": [kind for _, _, kind in _COLUMNS],
        "primary_keys": [1, 5, 8],
        "foreign_keys": [[8, 5], [9, 1]],
    }
