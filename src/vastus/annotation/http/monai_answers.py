"""What is said to a client of MONAI Label's protocol: of the server, its scans and its labels."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

from fastapi.responses import JSONResponse, Response

from vastus.anatomy import StructureTable
from vastus.annotation.http.monai_labelling import GROW_MODEL, Labelled
from vastus.annotation.http.viewer_routes import NIFTI_GZ
from vastus.annotation.project.project import Project, label_names
from vastus.annotation.project.store import FINAL_TAG, ORIGINAL_TAG, CaseState, Version
from vastus.annotation.uploads.intake import UploadFormat, occurring
from vastus.curation.ranking import Strategy
from vastus.io.labels import write_labels
from vastus.version import __version__

APP_NAME: Final = "Vastus"
TRAINER: Final = "vastus"
_STRATEGIES: Final = {
    Strategy.UNCERTAINTY: "The scan whose labels the model is least sure of",
    Strategy.DIVERSITY: "The scan least like those that are corrected already",
    Strategy.COMBINED: "Unsure and unlike those that are corrected already",
    Strategy.AGREEMENT: "The scan in which most is likely to be mended, by the expected agreement of its structures",
    Strategy.RANDOM: "Any scan",
}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How labels are sent.

    Attributes:
        extension: of the file.
        output: ``json``, ``image`` or both (anything else).
        seconds: that it took to make them.
    """

    extension: str
    output: str
    seconds: float


def _drawable(table: StructureTable) -> dict[str, int]:
    """Names and values that a client may draw: both sides of each pair, and what lies in the midline."""
    return {label.name: label.value for label in table.whole_labels}


def server_info(project: Project) -> dict[str, Any]:
    """Say what this server can do."""
    models: dict[str, Any] = {}
    sided = _drawable(project.table)
    entries = project.registry.entries()
    for entry in sorted(entries, key=lambda e: not e.selected):
        models[entry.name] = {
            "type": "segmentation",
            "labels": sided,
            "dimension": 3,
            "description": entry.trained_on,
            "config": {},
        }
    models[GROW_MODEL] = {
        "type": "scribbles",
        "labels": sided,
        "dimension": 3,
        "config": {},
        "description": "Grow from seeds: every voxel takes the value of the stroke it is best connected to",
    }
    selected = next((e for e in entries if e.selected), None)
    trainer = {"description": "Continue the selected model on the final labels", "config": {"minutes": 30}}
    stats: dict[str, Any] = {}
    if selected is not None:
        dice = next((value for name, value in selected.metrics.items() if "dice" in name.lower()), 0.0)
        stats[TRAINER] = {"best_metric": dice, "model": selected.name}
    return {
        "name": APP_NAME,
        "description": "Muscles and bones of hip and thigh in CT"
        if project.table.is_built_in
        else "Structures of your own in CT",
        "version": __version__,
        "labels": list(sided),
        "models": models,
        "trainers": {TRAINER: trainer},
        "strategies": {s.value: {"description": text} for s, text in _STRATEGIES.items()},
        "scoring": {},
        "train_stats": stats,
        "datastore": stats_of(project),
        "config": {},
    }


def answer(project: Project, labelled: Labelled, form: AnswerForm) -> Response:
    """Send labels, with the names of those that occur."""
    told = labelled.told if labelled.told is not None else occurring(labelled.labels.array)
    params = {
        "label_names": dict(label_names(told, project.table)),
        "model": labelled.model,
        "latencies": {"total": form.seconds},
    }
    if form.output == "json":
        return JSONResponse(params)
    name = f"label{form.extension}"
    target = project.layout.temporary / f"{secrets.token_hex(12)}{form.extension}"
    try:
        write_labels(labelled.labels, target, table=project.table)
        content = target.read_bytes()
    finally:
        target.unlink(missing_ok=True)
    if form.output == "image":
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=_media_type(name), headers=headers)
    kind, body = _multipart(params, name, content)
    return Response(body, media_type=kind)


def _multipart(params: dict[str, Any], filename: str, content: bytes) -> tuple[str, bytes]:
    """A multipart/form-data answer: ``params`` as a field, ``image`` as a file."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(params)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{filename}"\r\n'
        f"Content-Type: {_media_type(filename)}\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _media_type(name: str) -> str:
    return NIFTI_GZ if name.endswith(".gz") else "application/octet-stream"


def stats_of(project: Project) -> dict[str, Any]:
    """Count the cases, those that are done, and the labels under each tag."""
    states = project.states()
    tags: dict[str, int] = {}
    for version in project.store.currents().values():
        if version.tag:
            tags[version.tag] = tags.get(version.tag, 0) + 1
    completed = sum(state is CaseState.FINAL for state in states.values())
    return {"total": len(states), "completed": completed, "label_tags": tags}


def entry_of(project: Project, case_id: str) -> dict[str, Any]:
    """Say what is known of a case and of its newest label under each tag; nothing of its header."""
    grid = project.cases.grid(case_id)
    facts = {"name": f"{case_id}.nii.gz", "ts": 0, "shape": None if grid is None else list(grid.shape)}
    labels = {}
    for tag in {v.tag for v in project.store.versions(case_id) if v.tag} | {FINAL_TAG, ORIGINAL_TAG}:
        version = project.store.tagged(case_id, tag)
        if version is not None:
            labels[tag] = {"ext": UploadFormat.NIFTI_GZ.value, "info": label_info_of(project, version)}
    return {"image": {"ext": UploadFormat.NIFTI_GZ.value, "info": facts}, "labels": labels}


def label_info_of(project: Project, version: Version) -> dict[str, Any]:
    """Say what is known of a label."""
    names = project.names_in(version)
    return {
        "ts": version.created,
        "name": f"{version.case_id}.nii.gz",
        "version": version.number,
        "author": version.author,
        "params": {"label_names": dict(names)},
    }
