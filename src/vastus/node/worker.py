"""The worker: a process with the network loaded once, which takes one series at a time.

It reads one JSON object a line from its input, ``{"series": FOLDER, "output": FOLDER, "subject": NAME}``, and answers
each with one line, ``{"ok": true}`` or ``{"ok": false, "error": NAME, "reason": TEXT, "final": BOOL}``; ``final`` means
that another try would fail in the same way. DICOM results are what it leaves under ``FOLDER/dicom``. Any program that
does the same can take its place (``process.command`` in the configuration).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from vastus.errors import InputError, VastusError


def main(arguments: list[str]) -> None:
    """Load the network, then answer until the input ends.

    Args:
        arguments: formats, bundle or empty, threads or empty.
    """
    # Only answers may go out where the node listens; whatever a library prints goes to the log.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    formats, weights, threads = arguments
    predictor = _load(weights, threads)
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
    from vastus.pipeline import ScanRequest, segment_to_folder

    try:
        done = segment_to_folder(
            predictor, ScanRequest(Path(request["series"]), Path(request["output"]), subject=request["subject"])
        )
        write_dicom_of(done, parse_formats(formats))
    except VastusError as error:
        final = isinstance(error, InputError)
        return {"ok": False, "error": type(error).__name__, "reason": error.problem, "final": final}
    except Exception as error:  # whatever a library raises on a strange series must not end the worker
        return {"ok": False, "error": type(error).__name__, "reason": "unexpected failure", "final": False}
    return {"ok": True}


if __name__ == "__main__":
    main(sys.argv[1:])
