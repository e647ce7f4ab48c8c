"""Windows made ahead of the step that reads them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Prefetch:
    """The items of an indexed source, the next few of them made by a thread.

    Keras makes the items of a `PyDataset` in the loop itself unless it has two workers or
    more, which share no order. One thread here makes item after item, so what comes out is
    what the source gives, in any order that it is asked for.

    Args:
        make: item of an index; called in another thread, one call at a time.
        length: number of items.
        ahead: items that are made before they are asked for.
    """

    def __init__(self, make: Callable[[int], Any], length: int, ahead: int = 2) -> None:
        self._make = make
        self._length = length
        self._ahead = ahead
        self._made: dict[int, Future] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")

    def __getitem__(self, index: int) -> Any:
        """The item; waits for it where it is not made yet.

        Raises:
            Exception: what `make` raised for this index.
        """
        for each in range(index, min(index + self._ahead + 1, self._length)):
            if each not in self._made:
                self._made[each] = self._thread.submit(self._make, each)
        return self._made.pop(index).result()

    def close(self) -> None:
        """End the thread; what it makes at the moment is thrown away."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._made.clear()
