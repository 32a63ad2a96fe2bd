"""Inputs to queue, queue to workers, outcomes to ledger and tables; stopped at any point, it goes on later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vastus.batch.archive import ArchiveTable, stored_rows
from vastus.batch.engine import BatchEngine
from vastus.batch.inputs import find_scans
from vastus.batch.ledger import Keys, Ledger
from vastus.batch.logs import LOG_FILE, BatchLog, BatchProgress, now
from vastus.batch.metrics import BatchMetrics, MetricsServer
from vastus.batch.summary import write_summary
from vastus.batch.task import Ending, Outcome, ProcessorFactory, ScanState, Task, named_error
from vastus.batch.worker import clear_leftovers
from vastus.errors import OutputError
from vastus.io.atomic import ensure_folder
from vastus.io.tables import SCANS_FOLDER
from vastus.version import __version__


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What to run.

    Attributes:
        inputs: folders, files, lists.
        output: folder of ledger, tables and scans.
        every_series: all CT series of a study, not only the best.
        retry: states whose scans are tried again.
        measure_again: compute from stored labels what was computed before.
        limit: scans to do at most in this run.
        metrics_port: serve metrics there; None: don't.
    """

    inputs: Sequence[Path]
    output: Path
    every_series: bool = False
    retry: Sequence[ScanState] = ()
    measure_again: bool = False
    limit: int | None = None
    metrics_port: int | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What is there after a run: scans by state, of those that the inputs named, how many were worked on now and
    how many a human should look at first."""

    counts: dict[ScanState, int] = field(default_factory=dict)
    worked: int = 0
    look_first: int = 0


class OpenBatch:
    """An output folder with its queue filled, ready to run or to be asked what would run.

    Use as a context manager; the folder is locked meanwhile.
    """

    def __init__(self, request: BatchRequest, factory: ProcessorFactory, *, dry: bool = False) -> None:
        """Lock the folder, find the scans, fill the queue.

        Args:
            request: what to run.
            factory: what works on a scan.
            dry: only to ask what would run; neither locks nor writes.

        Raises:
            MissingInputError, SettingsError: an input can't be used.
            OutputError: the folder can't be, or another command works on it.
        """
        self.request, self.factory = request, factory
        if not dry:
            ensure_folder(request.output)
        self.keys = Keys(factory.labels_key, factory.measures_key, factory.weights, __version__)
        self.ledger = Ledger(request.output, dry=dry)
        try:
            if not dry:
                clear_leftovers(request.output)
            self.run = self.ledger.start_run()
            found = find_scans(request.inputs, request.output, self.ledger, every_series=request.every_series)
            self.found = self.ledger.register(found, self.keys, self.run)
            self.ledger.try_again(request.retry, self.run)
            if request.measure_again:
                self.ledger.measure_again(self.run)
        except BaseException:
            self.ledger.close()
            raise

    def __enter__(self) -> OpenBatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    @property
    def waiting(self) -> int:
        """Scans that this run would work on."""
        waiting = self.ledger.counts(self.run)[ScanState.PENDING]
        return waiting if self.request.limit is None else min(waiting, self.request.limit)

    def work(self, engine: BatchEngine, progress: BatchProgress | None = None) -> BatchResult:
        """Run the queue, then bring tables, list and page up to date.

        Raises:
            OutputError: the disk is full or fails. What was finished is kept.
            VastusError: the workers can't work.
        """
        run = _Run(self, engine, progress or BatchProgress(self.waiting, None))
        return run.work()


class _Run:
    """One run of the queue. All writing to ledger and tables happens here, in one process and one thread."""

    def __init__(self, batch: OpenBatch, engine: BatchEngine, progress: BatchProgress) -> None:
        self._batch, self._ledger, self._engine, self._progress = batch, batch.ledger, engine, progress
        self._claimed: dict[int, Task] = {}
        self._taken: set[int] = set()
        self._metrics = BatchMetrics(progress, engine.workers)
        self._tables = {n: ArchiveTable(self._ledger, n, header) for n, header in batch.factory.tables.items()}

    def work(self) -> BatchResult:
        batch = self._batch
        (batch.request.output / SCANS_FOLDER).mkdir(exist_ok=True)
        try:
            self._log = BatchLog(batch.request.output / LOG_FILE)
        except OSError as error:
            raise OutputError(
                f"The log can't be written ({error.strerror}).", path=batch.request.output / LOG_FILE
            ) from error
        server = (
            None if batch.request.metrics_port is None else MetricsServer(self._metrics, batch.request.metrics_port)
        )
        self._log.write(
            "start",
            run=batch.run,
            found=batch.found,
            waiting=self._progress.total,
            workers=self._engine.workers,
            weights=batch.keys.weights,
            version=batch.keys.version,
        )
        try:
            for table in self._tables.values():
                table.open()
            self._complete_tables()
            if self._progress.total:
                self._run_queue()
            self._log.write("end", finished=self._progress.finished, failed=self._progress.failed)
        except BaseException as error:
            self._log.write("stop", error=type(error).__name__)
            raise
        finally:
            self._tidy_up()
            if server is not None:
                server.close()
        for table in self._tables.values():
            table.write_parquet()
        look_first = write_summary(self._ledger)
        return BatchResult(self._ledger.counts(batch.run), self._progress.finished, look_first)

    def _complete_tables(self) -> None:
        """Add the rows of scans whose stored results count again."""
        with self._ledger.transaction():
            for scan in list(self._ledger.done_names(in_table=False)):
                for name, table in self._tables.items():
                    table.append(stored_rows(self._ledger.folder / SCANS_FOLDER / scan / name))
            self._ledger.note_rows()
            for table in self._tables.values():
                table.commit()

    def _run_queue(self) -> None:
        outcomes = self._engine.outcomes(self._batch.factory, self._next)
        try:
            for outcome in outcomes:
                self._take_in(outcome)
        finally:
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()
            self._progress.say(last=True)

    def _next(self) -> Task | None:
        limit = self._batch.request.limit
        full = limit is not None and len(self._taken) >= limit
        with self._ledger.transaction():
            task = None if full else self._ledger.claim(self._batch.run)
        if task is not None:
            self._claimed[task.scan_id] = task
            self._taken.add(task.scan_id)
        return task

    def _take_in(self, outcome: Outcome) -> None:
        task = outcome.task
        if task.scan_id not in self._claimed:
            return  # a try that was given up for lost and came back: the other one counts
        if outcome.ending is Ending.STOP:
            raise named_error(outcome.error, outcome.message, outcome.exit_code)
        if outcome.ending is Ending.DONE:
            for name, table in self._tables.items():
                table.append(outcome.product.tables.get(name, ""))
        with self._ledger.transaction():
            state = self._ledger.settle(outcome, self._batch.keys, now())
            for table in self._tables.values():
                table.commit()
        if outcome.ending is Ending.CRASHED:  # a worker that is gone could not tidy up
            clear_leftovers(task.folder)
        del self._claimed[task.scan_id]
        if state is ScanState.PENDING:
            self._taken.discard(task.scan_id)
        self._log.outcome(outcome, state)
        self._metrics.count(outcome, state)
        self._progress.count(state)

    def _tidy_up(self) -> None:
        """Give claimed scans back, and leave nothing half-written of them."""
        for table in self._tables.values():
            table.close()
        for task in self._claimed.values():
            clear_leftovers(task.folder)
        try:
            with self._ledger.transaction():
                for task in self._claimed.values():
                    self._ledger.put_back(task)
        except OutputError:
            pass  # a full disk: the next run finds them as running and takes them up again
        self._log.close()
