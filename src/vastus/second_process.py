"""Calls that a second process makes while this one goes on: for work that holds the interpreter, such as figures.

Where there is only one processor, or where the second process fails, the calls are made here, and whatever is wrong is
told from here.

On Linux the second process copies itself for one call while it makes the next: the copy has all that is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from vastus.garbage import search_rarely
from vastus.processors import usable_processors

Call = tuple[Callable[..., Any], tuple[Any, ...]]

_PATIENCE_S = 3.0
"""So long a process that is told to end may take to remove what it has begun to write."""


class SecondProcess:
    """Takes calls that give nothing back; two may be made at one time.

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
            self._end()  # it must not write the same files
            for function, arguments in self._calls:
                function(*arguments)

    def close(self) -> None:
        """End the second process, whatever it does."""
        self._end()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _end(self) -> None:
        self._sender.shutdown(wait=False, cancel_futures=True)
        if self._process is not None:
            _stop(self._process)

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
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=silent,
            stderr=silent,
            env=environment,
            process_group=0 if os.name == "posix" else None,  # ends with its copy
        )
    except OSError:  # no memory for it, or no right to start programs
        return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process with its copy, if it still runs."""
    if os.name == "posix" and process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


class _Copy:
    """A copy of this process makes one call at a time, where the system makes copies that are safe to go on with."""

    def __init__(self) -> None:
        self._id: int | None = None

    def takes(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """Let a copy make a call; False if one is still busy, or if there can be none."""
        if not sys.platform.startswith("linux") or not self._is_free():
            return False
        try:
            self._id = os.fork()
        except OSError:  # no memory for it, or too many processes
            return False
        if self._id == 0:
            status = 1
            try:
                function(*arguments)
                status = 0
            finally:
                os._exit(status)  # what this process has opened is not the copy's to close
        return True

    def finish(self) -> None:
        """Wait for the copy.

        Raises:
            RuntimeError: it failed; whoever started this process makes the calls itself then.
        """
        if self._id is not None:
            self._ended(os.waitpid(self._id, 0)[1])

    def _is_free(self) -> bool:
        if self._id is not None:
            found, status = os.waitpid(self._id, os.WNOHANG)
            if found:
                self._ended(status)
        return self._id is None

    def _ended(self, status: int) -> None:
        self._id = None
        if status:
            raise RuntimeError("The copy failed.")


def main() -> None:
    """Make the calls that come through the standard input, from the process that started this one, until it ends."""
    search_rarely()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    search_rarely()  # nor among what was loaded
    signal.signal(signal.SIGTERM, _exit)
    copy = _Copy()
    try:
        while (call := _next_call()) is not None:
            function, arguments = call
            if not copy.takes(function, arguments):
                function(*arguments)
    finally:
        copy.finish()  # also after an error: whoever makes the calls anew must not meet the copy


def _next_call() -> Call | None:
    try:
        call: Call = pickle.load(sys.stdin.buffer)
    except EOFError:
        return None
    return call


def _exit(*_: object) -> None:
    """End as after an error, so that what is half written is removed on the way."""
    sys.exit(1)


if __name__ == "__main__":
    main()
