"""What was looked at: each with its state, a sentence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How something is.

    ``MISSING`` is an optional part that is not there, ``WARNING`` something that works but slowly or not always.
    Only ``BROKEN`` means that scans can't be segmented.
    """

    OK = "ok"
    MISSING = "missing"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: how it is.
        said: in words; without host names, user names and paths.
        remedy: what to do; empty where nothing is to be done.
    """

    name: str
    state: State
    said: str
    remedy: str = ""


def works(findings: tuple[Finding, ...]) -> bool:
    """Say whether scans can be segmented."""
    return all(finding.state is not State.BROKEN for finding in findings)
