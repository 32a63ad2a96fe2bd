"""The worker: a process with the network loaded once, which takes one series at a time.

It reads one JSON object a line from its input, ``{"series": FOLDER, "output": FOLDER, "subject": NAME}``, and answers
each with one line, ``{"ok": true}`` or ``{"ok": false, "error": NAME, "reason": TEXT, "final": BOOL}``; ``final`` means
that another try would fail in the same way, and ``"hindered": true`` that the series had no part in it. DICOM results
are what it leaves under ``FOLDER/dicom``. Any program that does the same can take its place (``process.command`` in the
configuration).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from vastus.errors import InputError, OutputError, VastusError
from vastus.io.library_logs import LibraryLogs

SAID: Final = "library message"
CAN_NOT_START: Final = 78
"""Exit code (EX_CONFIG) when the network can't be loaded: no series has any part in that."""
_OF_THE_MACHINE: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ESTALE,
        errno.EACCES,
    }
)


def main(arguments: list[str]) -> None:
    """Load the network, then answer until the input ends.

    Args:
        arguments: formats, bundle or empty, threads or empty.
    """
    # Only answers may go out where the node listens, and only our own lines into its log: whatever a library prints
    # there, from Python or from below, may quote a header.
    answers, log = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    def tell(who: str, kind: str) -> None:
        print(json.dumps({"event": SAID, "by": who, "kind": kind}), file=log, flush=True)

    with LibraryLogs(tell):
        formats, weights, threads = arguments
        try:
            predictor = _load(weights, threads)
        except Exception as error:
            tell("worker", type(error).__name__)
            sys.exit(CAN_NOT_START)
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(_answer(predictor, formats, request)), file=answers, flush=True)


def _load(weights: str, threads: str) -> Any:
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor

    bundle = load_bundle(Path(weights)) if weights else default_bundle()
    return Predictor(bundle, RuntimeOptions(threads=int(threads) if threads else None))


def _answer(predictor: Any, formats: str, request: dict[str, str]) -> dict[str, Any]:
    from vastus.dicom.outputs import parse_formats, write_dicom_of
    from vastus.dicom.source import with_checked_headers
    from vastus.io.scans import read_scan
    from vastus.pipeline import Begun, ScanRequest, segment_to_folder

    series = Path(request["series"])
    try:
        # What results can't be made of is refused here, before the network has run for minutes.
        done = segment_to_folder(
            predictor,
            ScanRequest(series, Path(request["output"]), subject=request["subject"]),
            begun=Begun(read=lambda: with_checked_headers(read_scan(series))),
        )
        write_dicom_of(done, parse_formats(formats))
    except VastusError as error:
        final, hindered = isinstance(error, InputError), isinstance(error, OutputError)
        return {
            "ok": False,
            "error": type(error).__name__,
            "reason": error.problem,
            "final": final,
            "hindered": hindered,
        }
    except Exception as error:  # whatever a library raises on a strange series must not end the worker
        hindered = isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
        return {
            "ok": False,
            "error": type(error).__name__,
            "reason": "unexpected failure",
            "final": False,
            "hindered": hindered,
        }
    return {"ok": True}


if __name__ == "__main__":
    main(sys.argv[1:])
