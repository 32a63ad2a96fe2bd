"""The worker: a process of its own, so that its memory is free when it ends and nothing it does can take the page down.

It reads one JSON object a line from its input and answers with lines: ``{"stage": NAME, "done": N, "total": N}`` on the
way, then ``{"ok": true}`` or ``{"ok": false, "problem": TEXT, "remedy": TEXT}``. It ends with its input.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from vastus.errors import VastusError

Say = Callable[[dict[str, Any]], None]
_UNFORESEEN: Final = "Something unforeseen went wrong ({})."
_TELL_US: Final = "Try again. If it happens again, please report it, with these words."


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What libraries print may quote a patient's header: it goes nowhere.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=answers, flush=True)

    while True:
        say(answer(json.loads(requests.get()), say))


def _listen(requests: queue.Queue[str]) -> None:
    """Pass requests on; end the process with its input, whatever it is doing: whoever asked is gone."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def answer(request: dict[str, Any], say: Say) -> dict[str, Any]:
    """Do what a request says; every failure is an answer.

    Args:
        request: ``work`` and what it needs, see the functions.
        say: is told how far it is.
    """
    works: dict[str, Callable[[dict[str, Any], Say], None]] = {
        "segment": _segment,
        "measure": _measure,
        "cohort": _cohort,
    }
    try:
        works[request["work"]](request, say)
    except VastusError as error:
        return {"ok": False, "problem": error.problem, "remedy": error.remedy or ""}
    except MemoryError:
        return {"ok": False, "problem": "This computer's memory is too small for it.", "remedy": "Close programs."}
    except Exception as error:  # one scan's surprise must not take the others with it
        return {"ok": False, "problem": _UNFORESEEN.format(type(error).__name__), "remedy": _TELL_US}
    return {"ok": True}


def _segment(request: dict[str, Any], say: Say) -> None:
    """``source``, ``series``, ``folder``, ``subject``, ``weights``, ``threads``: a scan to its result."""
    say({"stage": "start", "done": 0, "total": 0})
    from vastus.inference.predictor import Progress
    from vastus.pipeline import ScanRequest, segment_to_folder

    def tell(progress: Progress) -> None:
        say({"stage": progress.stage.value, "done": progress.done, "total": progress.total})

    scan_request = ScanRequest(
        Path(request["source"]), Path(request["folder"]), request["subject"], request.get("series") or None
    )
    predictor = _predictor(request.get("weights") or "", request.get("threads") or 0)
    say({"stage": "read", "done": 0, "total": 0})
    segment_to_folder(predictor, scan_request, on_progress=tell)


@cache
def _predictor(weights: str, threads: int) -> Any:
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor

    bundle = load_bundle(Path(weights)) if weights else default_bundle()
    return Predictor(bundle, RuntimeOptions(threads=threads or None))


def _measure(request: dict[str, Any], say: Say) -> None:
    """``scan``, ``labels``, ``folder``, ``subject``, ``note``: the tables and the page anew, from corrected labels."""
    say({"stage": "measure", "done": 0, "total": 0})
    from vastus.app.measuring import measure_again

    measure_again(
        Path(request["scan"]), Path(request["labels"]), Path(request["folder"]), (request["subject"], request["note"])
    )


def _cohort(request: dict[str, Any], say: Say) -> None:
    """``scans`` (a table of volumes), ``clinical``, ``folder``, ``criteria``: the report of many results."""
    say({"stage": "cohort", "done": 0, "total": 0})
    from vastus.cohort.runner import CohortRun, run_cohort

    run_cohort(
        CohortRun(Path(request["scans"]), Path(request["clinical"]), Path(request["folder"]), request["criteria"])
    )


if __name__ == "__main__":
    main()
