"""What an exported model is asked, so that its answers can be compared.

The probes are the same for every export of a model: texts that stress a tokenizer,
and rows of token ids of several lengths, one longer than the attention window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TEXTS = (
    "The capital of France is",
    "SELECT name, COUNT(*) FROM orders WHERE total >= 12.50 GROUP BY name;",
    "CREATE TABLE t (id INTEGER PRIMARY KEY,\n\tnote TEXT DEFAULT 'it''s');\r\n",
    "def f(x):\n    return x  # two  and   three    spaces\n\n\n",
    " a leading and a trailing space ",
    "Où est l’école ? Ça coûte 3,50 € — naïve façade, Straße, Åse, żółć, İstanbul",
    "Съешь же ещё этих мягких французских булок",
    "今日は世界。東京都の人口は1,400万人です。 你好，世界！ 안녕하세요",
    "مرحبا بالعالم ١٢٣ שלום עולם",
    "नमस्ते दुनिया สวัสดีชาวโลก வணக்கம்",
    "👩\u200d💻 🇫🇷 ½ ﬁ ² ™ e\u0301 \u00a0 \u200b \u2581 \U0001f9ff \U00013000",
    '<table><tr><td>1</td></tr></table> {"a": [1, null]} $x^2$ \\n https://a.b/c?d=%20',
)
"""Texts in many scripts, with code, SQL, runs of spaces and rare characters."""

PROMPTS = (TEXTS[0], TEXTS[1], TEXTS[5])
"""Texts that both models go on from, greedily."""

LENGTHS = (1, 7, 33)
"""Lengths, in tokens, of the rows of random ids."""

LONG_ROW_BYTES = 1 << 30
"""Most bytes of float32 logits that the longest row may take."""

POSITIONS = 8
"""Positions of a row whose logits are compared: the last ones and an even spread."""

PAST_WINDOW = 32
"""Tokens by which the longest row exceeds the attention window."""

SHORTEST_SHAPE = 64
"""Rows are padded to this length or a power of two above it, so that few shapes compile."""


@dataclass(frozen=True)
class Probes:
    """Token ids and texts for both sides.

    Attributes:
        rows: token ids, one array of shape (length,) and dtype int32 a row.
        positions: for each row the positions, ascending, whose logits are compared.
        prompts: token ids that greedy decoding starts from.
        texts: what the tokenizers are compared on.
        window: the attention window in tokens, None if all layers see everything.
    """

    rows: tuple[np.ndarray, ...]
    positions: tuple[np.ndarray, ...]
    prompts: tuple[list[int], ...]
    texts: tuple[str, ...]
    window: int | None

    @property
    def longest(self) -> int:
        """Tokens in the longest row."""
        return max(len(row) for row in self.rows)

    @property
    def past_window(self) -> bool:
        """Whether a row is long enough to notice a wrong attention window."""
        return self.window is None or self.longest > self.window


def make_probes(
    encode: Callable[[str], Sequence[int]],
    *,
    vocabulary: int,
    bos_id: int | None,
    window: int | None,
    max_positions: int,
    seed: int = 0,
) -> Probes:
    """The probes for one model.

    Args:
        encode: text → ids without BOS.
        vocabulary: number of ids that the model has embeddings for.
        bos_id: id that starts a sequence, or None.
        window: the smallest attention window in tokens, or None.
        max_positions: the longest sequence the model was made for, in tokens.
        seed: of the random rows.
    """
    start = [] if bos_id is None else [bos_id]
    random = np.random.default_rng(seed)
    budget = LONG_ROW_BYTES // (4 * vocabulary)
    longest = min(max_positions, budget, max(window or 0, SHORTEST_SHAPE) + PAST_WINDOW)
    rows = [np.array([*start, *encode(text)][:longest], np.int32) for text in TEXTS[::2]]
    for length in (*LENGTHS, longest):
        ids = random.integers(0, vocabulary, size=max(1, length - len(start)))
        rows.append(np.array([*start, *ids][:longest], np.int32))
    rows = [row for row in rows if len(row)]
    return Probes(
        rows=tuple(rows),
        positions=tuple(_positions(len(row)) for row in rows),
        prompts=tuple([*start, *encode(text)][:longest] for text in PROMPTS),
        texts=TEXTS,
        window=window,
    )


def padded(row: np.ndarray, pad_id: int, longest: int) -> np.ndarray:
    """A row as a batch of one, int32 (1, length), padded on the right.

    Attention is causal, so what follows a position does not change its logits.
    """
    length = SHORTEST_SHAPE
    while length < len(row):
        length *= 2
    length = max(len(row), min(length, longest))
    batch = np.full((1, length), pad_id, np.int32)
    batch[0, : len(row)] = row
    return batch


def _positions(length: int) -> np.ndarray:
    spread = np.linspace(0, length - 1, num=min(length, POSITIONS // 2)).astype(np.int64)
    last = np.arange(max(0, length - POSITIONS // 2), length)
    return np.union1d(spread, last)
