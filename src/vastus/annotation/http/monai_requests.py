"""What comes with a request of MONAI Label's protocol: the JSON in a form, who asks, and a client's own images."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import UploadFile
from pydantic import BaseModel

from vastus.annotation.http.access import LOCAL_USER
from vastus.annotation.names import tidy_note
from vastus.annotation.project.project import Project
from vastus.annotation.refusals import BadRequestError
from vastus.annotation.uploads.intake import check_dicom_upload, read_upload, upload_format
from vastus.io.scans import read_scan
from vastus.volume import Volume


class InferQuery(BaseModel):
    """Which image to label: a case, or one of an open session."""

    image: str = ""
    session_id: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InferForm:
    """What came with an inference: strokes, or an image of the client's own."""

    label: UploadFile | None
    file: UploadFile | None


def values_of(text: str) -> dict[str, Any]:
    """Read the JSON object in a form's field.

    Raises:
        BadRequestError: something else.
    """
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError("params must be a JSON object.") from error
    if not isinstance(values, dict):
        raise BadRequestError("params must be a JSON object.")
    return values


def names_of(listed: object) -> list[str]:
    """Read the names of segments, in their order; empty for an entry that has none."""
    entries = listed if isinstance(listed, list) else []
    return [str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in entries]


def author_of(user: str, values: dict[str, Any]) -> str:
    """Say who did it: the user; where nobody signs in, the id that 3D Slicer gives itself."""
    client = values.get("client_id")
    if user != LOCAL_USER or not isinstance(client, str):
        return user
    return tidy_note(client).strip()[:64] or user


def scan_of(path: Path, project: Project) -> Volume:
    """Read an uploaded image as a scan: checked, then read as any other one, so that what is no CT is refused."""
    read_upload(path, project.settings.voxel_limit)
    kind = upload_format(path)
    named = path.with_name(path.name + kind.value)
    path.rename(named)
    try:
        return read_scan(named).volume
    finally:
        named.rename(path)


def series_of(files: list[UploadFile], project: Project) -> Volume:
    """Read the files of one DICOM series, under names of ours, each looked at before the reader sees it."""
    folder = project.layout.temporary / secrets.token_hex(12)
    folder.mkdir(mode=0o700)
    left = project.settings.voxel_limit
    try:
        for number, file in enumerate(files):
            path = folder / f"{number:06d}.dcm"
            with path.open("wb") as target:
                file.file.seek(0)
                shutil.copyfileobj(file.file, target)
            left -= check_dicom_upload(path, left)
        return read_scan(folder).volume
    finally:
        shutil.rmtree(folder, ignore_errors=True)
