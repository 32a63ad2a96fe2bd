"""Calls that a second process makes while this one goes on: for work that holds the interpreter, such as figures.

Where there is only one processor, or where the second process fails, the calls are made here, and whatever is wrong is
told from here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from vastus.processors import usable_processors

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class SecondProcess:
    """Takes calls that give nothing back, in order.

    Args:
        modules: what the process loads at once, before the first call comes.
        beside: use a second process; else the calls are made by ``finish``.
    """

    def __init__(self, *modules: str, beside: bool) -> None:
        self._calls: list[Call] = []
        # What is sent waits until the process has loaded its modules: this one must not wait for that.
        self._sender = ThreadPoolExecutor(1)
        self._sent: list[Future[None]] = []
        self._process = _start(modules) if beside else None

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Make a call, now or soon; function and arguments must be such that they can be pickled."""
        self._calls.append((function, arguments))
        if self._process is not None:
            self._sent.append(self._sender.submit(self._send, (function, arguments)))

    def finish(self) -> None:
        """Wait until all calls are made; raise what one of them raises."""
        if not self._made_beside():
            for function, arguments in self._calls:
                function(*arguments)

    def close(self) -> None:
        """End the second process, whatever it does."""
        self._sender.shutdown(wait=False, cancel_futures=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def _send(self, call: Call) -> None:
        assert self._process is not None and self._process.stdin is not None
        pickle.dump(call, self._process.stdin)
        self._process.stdin.flush()

    def _made_beside(self) -> bool:
        if self._process is None or self._process.stdin is None:
            return False
        try:
            for sent in self._sent:
                sent.result()
            self._process.stdin.close()
        except Exception:  # it ended before it had read everything, or something can't be sent: told from here
            return False
        return self._process.wait() == 0


@contextmanager
def second_process(*modules: str) -> Iterator[SecondProcess]:
    """Open a second process, if there is a processor for it.

    Args:
        modules: what it loads at once, before the first call comes.
    """
    process = SecondProcess(*modules, beside=usable_processors() > 1)
    try:
        yield process
    finally:
        process.close()


def _start(modules: tuple[str, ...]) -> subprocess.Popen[bytes] | None:
    silent = subprocess.DEVNULL
    # -P: modules that lie in the folder where somebody works are none of ours.
    command = [sys.executable, "-P", "-m", __name__, *modules]
    environment = os.environ | {"MPLBACKEND": "agg"}
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, env=environment)
    except OSError:  # no memory for it, or no right to start programs
        return None


def main() -> None:
    """Make the calls that come through the standard input, from the process that started this one, until it ends."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        function(*arguments)


if __name__ == "__main__":
    main()
