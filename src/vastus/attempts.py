"""One bad item among many: it is named, the others go on, and the end says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vastus.errors import VastusError

UNFORESEEN = 1
"""Exit code of a failure that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed: its name, what was wrong in one line, and the exit code for that."""

    name: str
    problem: str
    exit_code: int


@dataclass(slots=True)
class Attempts:
    """Work on many items of which some may fail.

    Attributes:
        tell: told one line of each failure, at once.
        failures: in the order in which they came.
    """

    tell: Callable[[str], None] = lambda _: None
    failures: list[Failure] = field(default_factory=list)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Work on one item: whatever is raised is written down, and ends this item only.

        What nobody foresaw is told by its kind alone: its text may quote what is in the file.
        """
        try:
            yield
        except VastusError as error:
            self._failed(Failure(name, f"{type(error).__name__}: {error}", error.exit_code))
        except Exception as error:
            self._failed(Failure(name, f"unexpected failure ({type(error).__name__})", UNFORESEEN))

    def _failed(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.tell(f"{failure.name}: {failure.problem}")

    @property
    def failed(self) -> frozenset[str]:
        """Names of what failed."""
        return frozenset(failure.name for failure in self.failures)
