"""A batch command with the stand-in, to be killed by tests: ``batch_command.py IN OUT JOURNAL SECONDS [SCHEDULER]``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from batch_standin import StandIn
from vastus.batch.engine_local import LocalEngine
from vastus.batch.runner import BatchRequest, OpenBatch


def main(scans: str, out: str, event_log: str, seconds: str, *scheduler: str) -> None:
    # Where the tests themselves run in the background, the shell has Ctrl-C ignored for everything under them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with OpenBatch(BatchRequest([Path(scans)], Path(out)), StandIn(float(seconds), event_log=Path(event_log))) as batch:
        if scheduler:
            from vastus.batch.engine_dask import DaskEngine

            batch.work(DaskEngine(*scheduler))
        else:
            batch.work(LocalEngine(2, 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
