"""Keeping secrets out of what is written and printed."""

import os
import re

MASK = "[masked]"

# Words of a variable's name, between underscores: HF_TOKEN and KAGGLE_KEY hold
# secrets, TOKENIZERS_PARALLELISM does not.
_SECRET_WORDS = {"TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "APIKEY", "CREDENTIALS"}
_SHORTEST = 8
_HUGGING_FACE = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


def masked(text: str) -> str:
    """The text without the values of secret-bearing environment variables and Hub tokens.

    A value shorter than eight characters is left: masking it would hit plain words.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_WORDS & set(name.upper().split("_")):
            text = text.replace(value, MASK)
    return _HUGGING_FACE.sub(MASK, text)
