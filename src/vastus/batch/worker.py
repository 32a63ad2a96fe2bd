"""One try of one task inside a worker: timed, its memory watched, every error turned into an outcome with a name."""

from __future__ import annotations

import errno
import faulthandler
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vastus.batch.task import Ending, Outcome, Processor, Task
from vastus.errors import InputError, OutputError, PacsError, UnreachablePacsError, VastusError
from vastus.io.atomic import ensure_folder

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# A network drive or disk that is away or fails: no fault of the scan on it. Not every system knows all names.
_AWAY = {
    getattr(errno, name)
    for name in (
        "EIO",
        "ESTALE",
        "ENOTCONN",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ETIMEDOUT",
        "ENODEV",
        "ENXIO",
        "EREMOTEIO",
        "ECONNRESET",
        "ECONNABORTED",
    )
    if hasattr(errno, name)
}
_STALE = ".vastus-*"


def perform(processor: Processor, task: Task, worker: str, timeout_s: float | None = None) -> Outcome:
    """Try a task. Never raises but for ``KeyboardInterrupt``, ``SystemExit`` and the death of the process.

    Args:
        processor: loaded.
        task: what to do.
        worker: its name.
        timeout_s: a try that takes longer ends the whole process: nothing less stops a library that hangs.
    """
    with _watch(timeout_s):
        return _perform(processor, task, worker)


@contextmanager
def _watch(timeout_s: float | None) -> Iterator[None]:
    if timeout_s is None:
        yield
        return
    # A thread of C, which also ends a process whose interpreter is held by a loop in some library.
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def death_of(task: Task, seconds: float, timeout_s: float | None, how: str = "") -> Outcome:
    """The outcome of a try whose worker is gone, told by the time it took.

    Args:
        task: what was tried.
        seconds: since it was handed over.
        timeout_s: as given to ``perform``.
        how: the process ended, if that is known.
    """
    if timeout_s is not None and seconds >= timeout_s:
        return Outcome(
            task,
            Ending.CRASHED,
            error="TimedOut",
            message=f"The scan took longer than {timeout_s:g} s.",
            seconds=seconds,
        )
    words = f" ({how})" if how else ""
    return Outcome(
        task, Ending.CRASHED, error="WorkerDied", message=f"The worker died on this scan{words}.", seconds=seconds
    )


def _perform(processor: Processor, task: Task, worker: str) -> Outcome:
    start = time.perf_counter()
    _forget_peak()
    ending, error, message, exit_code = Ending.DONE, "", "", 0
    try:
        clear_leftovers(task.folder)
        product = processor.process(task)
        return Outcome(
            task,
            ending,
            product,
            seconds=time.perf_counter() - start,
            peak_bytes=peak_bytes(),
            output_bytes=_size_of(task.folder),
            worker=worker,
        )
    except InputError as problem:
        if _is_away(problem):
            return _unreachable(task, problem, str(problem), start, worker)
        ending, error, message = Ending.REFUSED, type(problem).__name__, str(problem)
    except (OutputError, OSError) as problem:
        error, message, exit_code = "OutputError", str(problem), OutputError.exit_code
        if isinstance(problem, OSError):
            error, message = type(problem).__name__, problem.strerror or "input or output failed"
        ending = Ending.STOP if _meets_every_scan(problem, task) else Ending.FAILED
        if ending is Ending.FAILED and _is_away(problem):
            ending = Ending.UNREACHABLE
    except UnreachablePacsError as problem:
        return _unreachable(task, problem, str(problem), start, worker)
    except PacsError as problem:  # it answers, and this study fails: three tries, then the scan is set aside
        ending, error, message = Ending.FAILED, type(problem).__name__, str(problem)
    except VastusError as problem:
        # Weights or device: the next scan would meet the same.
        ending, error, message, exit_code = Ending.STOP, type(problem).__name__, str(problem), problem.exit_code
    except Exception as problem:  # one scan's surprise must not end the night; its text may hold header values
        ending, error = Ending.FAILED, type(problem).__name__
        message = f"An unexpected {error} at {_place(problem)}."
    return Outcome(
        task,
        ending,
        error=error,
        message=message,
        exit_code=exit_code,
        seconds=time.perf_counter() - start,
        peak_bytes=peak_bytes(),
        worker=worker,
    )


def _unreachable(task: Task, problem: Exception, message: str, start: float, worker: str) -> Outcome:
    return Outcome(
        task,
        Ending.UNREACHABLE,
        error=type(problem).__name__,
        message=message,
        exit_code=PacsError.exit_code,
        seconds=time.perf_counter() - start,
        peak_bytes=peak_bytes(),
        worker=worker,
    )


def _is_away(problem: BaseException) -> bool:
    """Whether an error comes from a drive or network that can't be reached, through any chain of causes."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _AWAY:
            return True
        seen = seen.__cause__
    return False


def _meets_every_scan(problem: BaseException, task: Task) -> bool:
    """Whether there is no room or no right to write at all, in contrast to one scan's files that can't be read."""
    cause = problem if isinstance(problem, OSError) else problem.__cause__
    if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
        return True
    try:
        ensure_folder(task.folder.parent)
    except OutputError:
        return True
    return False


def peak_bytes() -> int:
    """Largest resident memory of this process since ``_forget_peak`` (on Linux; elsewhere since its start)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def clear_leftovers(folder: Path) -> None:
    """Remove what a worker that was killed in the middle left behind."""
    if not folder.is_dir():
        return
    for left in folder.glob(_STALE):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _size_of(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except OSError:
        return 0


def _place(problem: BaseException) -> str:
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
