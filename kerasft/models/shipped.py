"""The adapter that kerasft ships for `ask`, found from a wheel and from a checkout alike."""

from pathlib import Path

from kerasft.errors import AdapterError
from kerasft.models.adapter import DESCRIPTION

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "_weights" / "ask", _PACKAGE.parent / "weights" / "ask")


def shipped_adapter() -> Path:
    """The folder of the adapter that answers questions about databases.

    Its files are those of a run's `adapter/`, with the run's `recipe.toml` beside them.

    Raises:
        AdapterError: this installation has none.
    """
    for place in _PLACES:
        if (place / DESCRIPTION).is_file():
            return place
    raise AdapterError(
        "this installation of kerasft holds no adapter for `ask`; give --model RUN, a run of "
        "`kerasft train --recipe sql` for example"
    )
