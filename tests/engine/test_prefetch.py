"""Items come in order, made in one other thread; faults and interruptions come through."""

import os
import signal
import threading
import time

import pytest

from kerasft.engine.prefetch import Prefetch


def test_items_are_made_ahead_one_after_the_other_in_another_thread() -> None:
    made, asked_for = [], threading.Event()

    def make(index: int) -> int:
        made.append((index, threading.current_thread()))
        if index == 2:
            asked_for.set()
        return index * 10

    items = Prefetch(make, 6)
    assert items[0] == 0
    assert asked_for.wait(10)  # item 2 comes without being asked for
    assert [items[index] for index in range(1, 6)] == [10, 20, 30, 40, 50]
    items.close()
    assert [index for index, _ in made] == list(range(6))
    threads = {thread for _, thread in made}
    assert len(threads) == 1 and threading.main_thread() not in threads


def test_no_more_than_two_items_wait() -> None:
    made = []
    items = Prefetch(lambda index: made.append(index) or index, 100)
    assert items[0] == 0
    items[1]
    time.sleep(0.05)
    assert max(made) <= 3
    items.close()


def test_another_order_gives_the_items_that_are_asked_for() -> None:
    # Keras may take the first batch to build a model, and then begin anew.
    items = Prefetch(lambda index: index, 5)
    assert [items[index] for index in (0, 0, 1, 4, 2, 3, 4)] == [0, 0, 1, 4, 2, 3, 4]
    items.close()


def test_what_cannot_be_made_is_raised_where_it_is_asked_for() -> None:
    def make(index: int) -> int:
        if index == 2:
            raise ValueError("window 2")
        return index

    items = Prefetch(make, 4)
    assert [items[0], items[1]] == [0, 1]
    with pytest.raises(ValueError, match="window 2"):
        items[2]
    assert items[3] == 3
    items.close()


def test_ctrl_c_comes_through_while_an_item_is_waited_for() -> None:
    release, made = threading.Event(), []
    items = Prefetch(lambda index: made.append(release.wait(30)), 1)
    # To the process, as a terminal sends it: a signal of a thread's own wakes no other one.
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            items[0]
        assert made == []
    finally:
        release.set()
        signal.signal(signal.SIGINT, before)
        items.close()


def test_the_thread_ends_with_close() -> None:
    threads = []
    items = Prefetch(lambda index: threads.append(threading.current_thread()), 3)
    items[0]
    items.close()
    threads[0].join(10)
    assert not threads[0].is_alive()
