"""What a scan is called after its place in a tree of folders, and how a changed file is noticed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from vastus.io.file_names import no_device
from vastus.io.folders import is_file

IMAGE_SUFFIXES: Final = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
_LONGEST_NAME = 80


def scan_name(path: Path, root: Path) -> str:
    """The place below ``root`` in one word: ``patient1/CT/axial.nii.gz`` becomes ``patient1-CT-axial``."""
    relative = path.relative_to(root)
    text = "-".join(relative.parts) or path.name
    lower = text.lower()
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if lower.endswith(suffix) and is_file(path):
            text = text[: -len(suffix)]
            break
    return clean_name(text)


def clean_name(text: str) -> str:
    """A name that is a good folder name on every system; long ones keep their end, which tells scans apart."""
    cleaned = re.sub(r'[\x00-\x1f<>:"/\\|?*,;]+', "_", text).strip(" .")[-_LONGEST_NAME:].strip(" .")
    return no_device(cleaned) if cleaned else "scan"


def fingerprint_of(path: Path) -> str:
    """Changes when a file does; for a folder, when its files do. Nothing is read."""
    try:
        if path.is_dir():
            stats = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
            return f"{len(stats)} {sum(s.st_size for s in stats)} {max((s.st_mtime_ns for s in stats), default=0)}"
        stat = path.stat()
    except (OSError, ValueError):  # a name that no system takes: too long, with a NUL
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"
