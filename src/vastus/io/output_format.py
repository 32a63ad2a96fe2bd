"""What a kind of result is: its name, what it needs, what writes it. Tables of these make help texts and choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Generic, TypeVar

from vastus.errors import MissingExtraError, SettingsError

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class OutputFormat(Generic[Content]):
    """One kind of result.

    Attributes:
        name: on the command line.
        summary: for the help text, without the name.
        files: names of what it writes.
        write: writes them; imports what it needs when it is called.
        needs: feature (for the message) and modules that must be installed.
        excludes: names of formats that can't be chosen beside this one, with the reason.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    write: Callable[[Content], None]
    needs: tuple[str, tuple[str, ...]] | None = None
    excludes: tuple[tuple[str, str], ...] = ()

    def require(self, extra: str = "dicom") -> None:
        """Refuse the format if a library is not installed.

        Raises:
            MissingExtraError: one is not.
        """
        if self.needs is not None and any(find_spec(module) is None for module in self.needs[1]):
            raise MissingExtraError(self.needs[0], extra)


def choose_formats(text: str, table: Sequence[OutputFormat[Content]]) -> tuple[OutputFormat[Content], ...]:
    """Read a list such as ``dicom-seg,sr`` with a table of formats; check that the libraries are installed.

    Args:
        text: names with commas; case and repetitions do not matter.
        table: what may be chosen.

    Returns:
        The chosen formats, in the order of the text.

    Raises:
        SettingsError: an unknown name, or formats that exclude each other.
        MissingExtraError: a library is not installed.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    known = {entry.name: entry for entry in table}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SettingsError(f"Unknown format {', '.join(unknown) or '(none)'}.", remedy=f"Known: {', '.join(known)}.")
    chosen = tuple(dict.fromkeys(known[name] for name in names))
    for entry in chosen:
        for other, reason in entry.excludes:
            if other in names:
                raise SettingsError(f"Choose {other} or {entry.name}, not both: {reason}.")
    for entry in chosen:
        entry.require()
    return chosen


def in_words(table: Iterable[OutputFormat[Content]]) -> str:
    """List the formats of a table for a help text."""
    return ", ".join(f"{entry.name} ({entry.summary})" for entry in table)
