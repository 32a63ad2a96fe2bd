"""Names that come over the network: of cases, models, tags and users. Never a path."""

from __future__ import annotations

import re

from vastus.annotation.refusals import BadNameError
from vastus.io.file_names import is_device_name, no_device

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_NOTE = 2000
_SCAN_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".zip")


def checked_name(name: str, what: str) -> str:
    """The name, if it may be one.

    Raises:
        BadNameError: empty, too long, with a separator, a dot at its ends or another character that a name may not
            hold, or that of a device of Windows.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith(".") or is_device_name(name):
        raise BadNameError(
            f"This can't be the name of a {what}.",
            remedy="Use letters, digits, dot, hyphen, underscore, 128 at most; no dot at the ends, nothing like CON.",
        )
    return name


def name_from(text: str, what: str) -> str:
    """A name made of a file's or a scan's: other characters become underscores, the suffix of a scan goes."""
    for suffix in _SCAN_SUFFIXES:
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
            break
    tidy = re.sub(r"[^A-Za-z0-9._-]+", "_", text)
    return checked_name(no_device(re.sub(r"\.{2,}", ".", tidy).lstrip(".-")[:128].rstrip("."))[:128], what)


def tidy_note(text: str) -> str:
    """Free text of a person: control characters go, and what is too long."""
    return "".join(c for c in text if c.isprintable() or c == " ")[:_LONGEST_NOTE]
