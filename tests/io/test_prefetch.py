from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from vastus.io.prefetch import Prefetch


def test_it_runs_before_it_is_asked_for() -> None:
    started, go_on = threading.Event(), threading.Event()

    def call() -> int:
        started.set()
        assert go_on.wait(10)
        return 7

    ahead = Prefetch(call)
    assert started.wait(10)
    go_on.set()
    assert ahead.result() == 7


def test_it_keeps_nothing_that_it_has_handed_over() -> None:
    ahead = Prefetch(lambda: np.zeros(3))
    kept = weakref.ref(ahead.result())
    gc.collect()
    assert kept() is None
    with pytest.raises(RuntimeError, match="already"):
        ahead.result()


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("slow"), KeyboardInterrupt()])
def test_its_error_is_raised_where_the_result_is_wanted(error: BaseException) -> None:
    def call() -> None:
        raise error

    ahead = Prefetch(call)
    with pytest.raises(type(error)) as caught:
        ahead.result()
    assert caught.value is error


def test_it_goes_on_with_its_result_and_still_hands_it_over() -> None:
    go_on = threading.Event()

    def call() -> int:
        assert go_on.wait(10)
        return 7

    ahead = Prefetch(call)
    doubled = ahead.then(lambda value: 2 * value)
    go_on.set()
    assert ahead.result() == 7
    assert doubled.result() == 14
    with pytest.raises(RuntimeError, match="already"):
        ahead.then(lambda value: value)


def test_what_goes_on_with_an_error_ends_with_it() -> None:
    def call() -> int:
        raise ValueError("no")

    ahead = Prefetch(call)
    further = ahead.then(lambda value: 2 * value)
    for one in (ahead, further):
        with pytest.raises(ValueError, match="no"):
            one.result()


def test_nothing_is_kept_when_both_are_done() -> None:
    ahead = Prefetch(lambda: np.zeros(3))
    further = ahead.then(len)
    assert further.result() == 3
    kept = weakref.ref(ahead.result())
    gc.collect()
    assert kept() is None


def test_without_a_thread_of_its_own_it_is_over_when_it_is_made() -> None:
    threads = []

    def call() -> int:
        threads.append(threading.current_thread())
        return 7

    ahead = Prefetch(call, aside=False)
    doubled = ahead.then(lambda value: (threads.append(threading.current_thread()), 2 * value)[1])
    assert threads == [threading.current_thread()] * 2
    assert (ahead.result(), doubled.result()) == (7, 14)


def test_without_a_thread_of_its_own_its_error_waits_too() -> None:
    ahead = Prefetch(lambda: 1 // 0, aside=False)
    with pytest.raises(ZeroDivisionError):
        ahead.result()
