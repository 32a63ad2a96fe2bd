"""A call that runs ahead in a thread of its own, so that reading a scan overlaps with other work.

With one thread of work (``-t 1``) there is no thread beside: the call is done where it is begun.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Generic, TypeVar

_POLL_S = 0.1  # how long a wait may keep Ctrl-C from being seen

T = TypeVar("T")
U = TypeVar("U")


class Prefetch(Generic[T]):
    """Starts at once; ``result`` waits. The thread never keeps the program from ending.

    Without ``aside`` there is no thread: the call is over when this is made, and ``result`` tells how it ended.
    """

    def __init__(self, call: Callable[[], T], *, aside: bool = True) -> None:
        future: Future[T] = Future()
        self._future: Future[T] | None = future
        self._aside = aside
        if aside:
            threading.Thread(target=_run, args=(call, future), daemon=True).start()
        else:
            _run(call, future)

    def result(self) -> T:
        """Return the result of the call, or raise its error. Works once, so that a scan is not kept in memory here."""
        future, self._future = self._taken(), None
        return _waited(future)

    def then(self, call: Callable[[T], U]) -> Prefetch[U]:
        """Go on with the result, in a thread if this one has its own, as soon as it is there; ``result`` still works.

        Args:
            call: gets the result. Where there is none but an error, that error is its own result.
        """
        future = self._taken()
        return Prefetch(lambda: call(_waited(future)), aside=self._aside)

    def _taken(self) -> Future[T]:
        if self._future is None:
            raise RuntimeError("The result was handed over already.")
        return self._future


def _waited(future: Future[T]) -> T:
    while not future.done():
        with suppress(NotYet):
            future.exception(timeout=_POLL_S)
    return future.result()


def _run(call: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # handed on to whoever asks for the result
        future.set_exception(error)
