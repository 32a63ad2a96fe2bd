"""The named refusals. Each message says what is wrong, in which file, and what to do about it.

A message never holds patient data: file names are given by the caller, header values such as a patient's name or
birth date are not.
"""

from __future__ import annotations

from pathlib import Path


class VastusError(Exception):
    """Base of every error that Vastus raises on purpose. ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __init__(self, problem: str, *, path: Path | str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.path = Path(path) if path is not None else None
        self.remedy = remedy
        where = f" [{path}]" if path is not None else ""
        what_to_do = f" {remedy}" if remedy else ""
        super().__init__(f"{problem}{where}{what_to_do}")


class InputError(VastusError):
    """Something given by the user can't be used as it is."""

    exit_code = 2


class MissingInputError(InputError):
    """The path does not exist, or holds nothing that can be read."""


class UnreadableScanError(InputError):
    """The file is damaged, truncated, or not of the format it says."""


class UnsupportedScanError(InputError):
    """The file can be read but is not a CT volume that Vastus handles (MR, 4D, one slice, not in HU ...)."""


class GeometryError(InputError):
    """Slices or affine do not form a regular volume, or two volumes that must share a grid do not."""


class AmbiguousSeriesError(InputError):
    """Several series fit equally well; the user has to choose."""


class LabelError(InputError):
    """A label map holds values or names that the anatomy table does not know."""


class SettingsError(InputError):
    """A setting, a table or a criteria file is missing something, malformed or out of range."""


class ImplausibleValueError(InputError):
    """A value lies outside the human range; most often a wrong unit."""


class OutputError(VastusError):
    """The result can't be written where it should go."""

    exit_code = 3


class BundleError(VastusError):
    """A weights bundle is incomplete, damaged (SHA-256), or of another version."""

    exit_code = 4


class DeviceError(VastusError):
    """The requested device or runtime is not available; Vastus never falls back silently."""

    exit_code = 5


class TrainingError(VastusError):
    """Training can't go on (NaN loss, unusable data set, full disk)."""

    exit_code = 6


class MissingExtraError(VastusError):
    """An optional part is not installed."""

    exit_code = 7

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part.", remedy=f"Install it: pip install 'vastus[{extra}]'")


class PacsError(VastusError):
    """A DICOM node does not answer, refuses, or has not kept what it was sent."""

    exit_code = 8


class UnreachablePacsError(PacsError):
    """A DICOM node as a whole can't be used now: no answer, overloaded, our password refused. No study's fault."""
