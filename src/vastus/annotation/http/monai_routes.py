"""MONAI Label's REST protocol, at the root, as 3D Slicer's module speaks it.

What that client needs and does not say: ``config`` at the top of ``/info/`` must be empty; ``details`` of a training
never is; the n-th name of ``label_names`` belongs to the n-th value that occurs in the label map, so that only those
that occur are named; a saved label map numbers its segments 1, 2, ... in the order of ``label_info``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from vastus.anatomy import StructureTable
from vastus.annotation.http.access import LOCAL_USER, By, CurrentProject, User, user_of
from vastus.annotation.http.viewer_routes import NIFTI_GZ, grid_of, version_row
from vastus.annotation.models.engine import Purpose, RequestKind
from vastus.annotation.models.trainer import TrainRequest
from vastus.annotation.names import checked_name, name_from, tidy_note
from vastus.annotation.project.project import Project, label_names
from vastus.annotation.project.sessions import DEFAULT_SECONDS, LONGEST_SECONDS
from vastus.annotation.project.store import FINAL_TAG, ORIGINAL_TAG, CaseState, Draft, Kind, Version
from vastus.annotation.project.toolbox import ToolWork
from vastus.annotation.refusals import BadRequestError, UnknownItemError
from vastus.annotation.uploads.intake import (
    Segments,
    UploadFormat,
    check_dicom_upload,
    occurring,
    read_label_upload,
    read_upload,
    upload_format,
)
from vastus.annotation.uploads.receiving import received_file
from vastus.curation.ranking import Strategy
from vastus.errors import InputError
from vastus.io.labels import write_labels
from vastus.io.nnunet_layout import image_name, labels_name
from vastus.io.scan_types import VoxelGrid
from vastus.io.scans import read_scan
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED
from vastus.version import __version__
from vastus.volume import Volume

router = APIRouter(dependencies=[Depends(user_of)], tags=["MONAI Label"])

APP_NAME: Final = "Vastus"
GROW_MODEL: Final = "grow_from_seeds"
TRAINER: Final = "vastus"
_FORMATS: Final = (".nii.gz", ".nrrd", ".seg.nrrd", ".nii")
_BACKGROUND_STROKES: Final = "background_scribbles"
_STROKES: Final = "foreground_scribbles"
_STRATEGIES: Final = {
    Strategy.UNCERTAINTY: "The scan whose labels the model is least sure of",
    Strategy.DIVERSITY: "The scan least like those that are corrected already",
    Strategy.COMBINED: "Unsure and unlike those that are corrected already",
    Strategy.AGREEMENT: "The scan in which most is likely to be mended, by the expected agreement of its structures",
    Strategy.RANDOM: "Any scan",
}


def labels_of(table: StructureTable) -> dict[str, int]:
    """The names that a client may draw: both sides of each pair, and what lies in the midline."""
    return {label.name: label.value for label in table.whole_labels}


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


@router.get("/info/")
@router.get("/info", include_in_schema=False)
def info(project: CurrentProject) -> dict[str, Any]:
    """What this server can do."""
    models: dict[str, Any] = {}
    sided = labels_of(project.table)
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
        "datastore": _stats(project),
        "config": {},
    }


@router.get("/datastore/")
@router.get("/datastore", include_in_schema=False)
def datastore(project: CurrentProject, output: str = "stats") -> Any:
    """The scans and labels: ``output`` is stats, all or train."""
    if output == "all":
        return {
            "name": APP_NAME,
            "description": "",
            "objects": {c.id: _entry(project, c.id) for c in project.cases.all()},
        }
    if output == "train":
        found = project.labels.finals()
        return [{"image": image_name(f.case_id), "label": labels_name(f.case_id)} for f in found]
    return _stats(project)


@router.put("/datastore/")
@router.put("/datastore", include_in_schema=False)
@router.put("/datastore/image", include_in_schema=False)
@router.put("/datastore/image/", include_in_schema=False)
def put_image(
    project: CurrentProject,
    user: User,
    file: Annotated[UploadFile, File()],
    image: str = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """Take in a scan under the id ``image``; what the client calls its file is not looked at."""
    _table(params)
    case_id = name_from(image, "case") if image else f"scan_{secrets.token_hex(6)}"
    with received_file(file, project.layout.temporary) as path:
        scan = _scan_of(path, project)
    project.cases.add(case_id, scan)
    return {"image": case_id}


@router.get("/datastore/image", response_class=FileResponse)
@router.head("/datastore/image", include_in_schema=False)
@router.get("/datastore/image/", include_in_schema=False, response_class=FileResponse)
def get_image(project: CurrentProject, image: str) -> FileResponse:
    """A scan in HU. The server reads it ahead, as the client asks for its labels next."""
    case = project.cases.get(image)
    path = project.cases.image_path(case.id)
    project.read_ahead(case.id)
    return FileResponse(path, media_type=NIFTI_GZ, filename=f"{case.id}.nii.gz")


@router.get("/datastore/image/info")
def image_info(project: CurrentProject, image: str) -> dict[str, Any]:
    """What is known of a scan; nothing of its header."""
    return dict(_entry(project, project.cases.get(image).id)["image"]["info"])


@router.put("/datastore/label")
@router.put("/datastore/label/", include_in_schema=False)
def put_label(
    project: CurrentProject,
    user: User,
    image: str,
    label: Annotated[UploadFile, File()],
    tag: str = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """Save a label map as a new version; without a tag it is final."""
    values = _table(params)
    tag = checked_name(tag, "tag") if tag else FINAL_TAG
    case_id = project.cases.get(image).id
    segments = Segments.from_label_info(values.get("label_info"), project.table)
    with received_file(label, project.layout.temporary) as path:
        labels = read_label_upload(path, grid_of(project, case_id), segments, table=project.table)
    kind = Kind.MODEL if tag == ORIGINAL_TAG else Kind.HUMAN
    saved = project.save(case_id, Draft(kind, _author(user, values), note="MONAI Label", tag=tag), labels)
    return {"image": case_id, "label": case_id, "tag": tag} | version_row(saved)


@router.get("/datastore/label", response_class=FileResponse)
@router.get("/datastore/label/", include_in_schema=False, response_class=FileResponse)
def get_label(project: CurrentProject, label: str, tag: str = FINAL_TAG) -> FileResponse:
    """The newest label of a case under a tag: final, original, or a client's own."""
    case_id = project.cases.get(label).id
    version = project.store.tagged(case_id, tag or FINAL_TAG)
    if version is None:
        raise UnknownItemError("This case has no label under that tag.")
    return FileResponse(project.store.file(version), media_type=NIFTI_GZ, filename=f"{case_id}.nii.gz")


@router.get("/datastore/label/info")
def label_info(project: CurrentProject, label: str, tag: str = FINAL_TAG) -> dict[str, Any]:
    """What is known of a label."""
    version = project.store.tagged(project.cases.get(label).id, tag or FINAL_TAG)
    if version is None:
        raise UnknownItemError("This case has no label under that tag.")
    return _label_info(project, version)


@router.put("/session/")
@router.put("/session", include_in_schema=False)
def open_session(
    project: CurrentProject,
    user: User,
    files: Annotated[list[UploadFile], File()],
    expiry: Annotated[int, Query(ge=0, le=LONGEST_SECONDS)] = 0,
) -> dict[str, Any]:
    """Send an image once, to ask about it several times. Several files: the slices of one DICOM series."""
    with received_file(files[0], project.layout.temporary) as path:
        scan = _scan_of(path, project) if len(files) == 1 else _series_of(files, project)
        image = path.with_suffix(".nii.gz")
        from vastus.annotation.project.cases import write_image

        write_image(scan, image)
        session = project.sessions.open(image, user, expiry or DEFAULT_SECONDS)
    return {"session_id": session.id, "session_info": session.info()}


@router.get("/session/{session_id}")
def get_session(project: CurrentProject, user: User, session_id: str, image: bool = False) -> Response:
    """A session, or its image."""
    session = project.sessions.get(session_id, user)
    if image:
        return FileResponse(session.image, media_type=NIFTI_GZ, filename="image.nii.gz")
    return JSONResponse(session.info())


@router.delete("/session/{session_id}")
def close_session(project: CurrentProject, user: User, session_id: str) -> dict[str, Any]:
    """End a session."""
    return project.sessions.close(session_id, user).info()


@router.post("/infer/{model}")
@router.post("/infer/{model}/", include_in_schema=False)
async def infer(
    by: By,
    model: str,
    query: Annotated[InferQuery, Query()],
    params: Annotated[str, Form()] = "{}",
    label: Annotated[UploadFile | None, File()] = None,
    file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Label a case, an uploaded image, or that of a session; ``params`` and ``image`` as multipart/form-data."""
    project, user, form = by.project, by.user, InferForm(label, file)
    values = _table(params)
    extension = str(values.get("result_extension") or ".nii.gz")
    if extension not in _FORMATS:
        raise BadRequestError("result_extension must be one of " + ", ".join(_FORMATS) + ".")
    start = time.perf_counter()
    if model == GROW_MODEL:
        labels, present = await run_in_threadpool(_grown, project, user, query, form, values)
        name = GROW_MODEL
    else:
        name, labels = await _segmented(project, user, model, query, form)
        present = None
        if values.get("save_label") in (True, "true") and query.image and not form.file and not query.session_id:
            author = _author(user, values)
            await run_in_threadpool(project.save_prediction, query.image, name, labels, author)
    seconds = round(time.perf_counter() - start, 3)
    return await run_in_threadpool(_answer, project, labels, (name, extension, query.output, seconds), present)


@router.post("/activelearning/{strategy}")
@router.post("/activelearning/{strategy}/", include_in_schema=False)
def next_case(
    project: CurrentProject, user: User, strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, Any]:
    """The case to correct next; an empty object when none is left."""
    try:
        chosen = Strategy(strategy)
    except ValueError as error:
        raise UnknownItemError("There is no such strategy.", remedy="GET /info/ lists them.") from error
    ranked, _ = project.uncertainty_queue.rank(chosen, seed=secrets.randbits(32))
    left, path = [r.case for r in ranked], None
    while path is None:
        case_id = project.reserve_first(left, _author(user, params or {}))
        if case_id is None:
            return {}
        try:
            path = project.cases.image_path(case_id)
        except InputError:
            # Not a scan that anybody could correct; the list of cases says why.
            left.remove(case_id)
    score = next(r.score for r in ranked if r.case == case_id)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # No path: a client on the same machine would open the file itself, and a DICOM folder it could not open at all.
    return {
        "id": case_id,
        "name": f"{case_id}.nii.gz",
        "path": "",
        "weight": score,
        "ts": int(time.time()),
        "checksum": f"SHA256:{digest}",
        "url": f"/datastore/image?image={case_id}",
        "strategy": chosen.value,
    }


@router.get("/train/")
@router.get("/train", include_in_schema=False)
def training(project: CurrentProject, check_if_running: bool = False) -> dict[str, Any]:
    """How the training stands; 404 if there is none, or with ``check_if_running`` if none is running."""
    task = project.trainer.task()
    if task is None or (check_if_running and not task.status()["running"]):
        raise UnknownItemError("There is no training" + (" running." if check_if_running else "."))
    return task.status()


@router.post("/train/{model}")
@router.post("/train/", include_in_schema=False)
@router.post("/train", include_in_schema=False)
def train(
    project: CurrentProject, model: str = TRAINER, params: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, Any]:
    """Train on the final labels, from the selected model."""
    if model != TRAINER:
        raise UnknownItemError("There is no such trainer.", remedy="GET /info/ lists them.")
    values = params or {}
    nested = values.get(TRAINER)
    return project.trainer.start(TrainRequest.from_values(nested if isinstance(nested, dict) else values)).status()


@router.delete("/train/")
@router.delete("/train", include_in_schema=False)
def stop_training(project: CurrentProject) -> dict[str, Any]:
    """Stop the training."""
    return project.trainer.stop().status()


@router.get("/logs/", response_class=PlainTextResponse)
@router.get("/logs", include_in_schema=False, response_class=PlainTextResponse)
def logs(project: CurrentProject, lines: Annotated[int, Query(ge=1, le=2000)] = 300) -> PlainTextResponse:
    """The last lines of the log."""
    return PlainTextResponse("\n".join(list(project.log_lines.lines)[-lines:]) + "\n")


async def _segmented(project: Project, user: str, model: str, query: InferQuery, form: InferForm) -> tuple[str, Volume]:
    if form.file is None and not query.session_id:
        return await asyncio.wrap_future(await run_in_threadpool(project.label, query.image, model, user))
    bundle = project.registry.bundle(model)

    def scan() -> Volume:
        if query.session_id:
            return read_scan(project.sessions.get(query.session_id, user).image).volume
        assert form.file is not None
        with received_file(form.file, project.layout.temporary) as path:
            return _scan_of(path, project)

    volume = await run_in_threadpool(scan)
    future = project.engine.submit(lambda load: load(bundle).label(volume), Purpose(RequestKind.LABEL, who=user))
    return bundle.folder.name, await asyncio.wrap_future(future)


def _grown(
    project: Project, user: str, query: InferQuery, form: InferForm, values: dict[str, Any]
) -> tuple[Volume, list[int] | None]:
    """Grow the strokes that came as ``label``: of any number of structures, or Slicer's two kinds of scribbles."""
    if form.label is None:
        raise BadRequestError("Growing needs strokes.", remedy="Send them as the file 'label'.")
    named = _names_of(values.get("label_info"))
    if query.session_id:
        scan = read_scan(project.sessions.get(query.session_id, user).image).volume
        grid, key = VoxelGrid(scan.shape, scan.affine), f"session {query.session_id}"
    else:
        case_id = project.cases.get(query.image).id
        scan, grid, key = project.image(case_id), grid_of(project, case_id), case_id
    with received_file(form.label, project.layout.temporary) as path:
        if _STROKES in named:
            return _one_structure(project, (path, grid, key, scan), named, values)
        segments = Segments.from_label_info(values.get("label_info"), project.table)
        drawn = read_label_upload(path, grid, segments, frozenset({BACKGROUND_SEED}), project.table)
    return drawn.with_array(project.tools.grow(ToolWork(key, drawn, None, lambda: scan)).labels), None


def _one_structure(
    project: Project, sent: tuple[Path, VoxelGrid, str, Volume], named: list[str], values: dict[str, Any]
) -> tuple[Volume, list[int]]:
    """3D Slicer's scribbles: foreground and background strokes for the structure that is selected there."""
    path, grid, key, scan = sent
    selected = project.table.value_of_name.get(str(values.get("selected_label_name")))
    if selected is None:
        raise BadRequestError("selected_label_name must name a structure.", remedy="GET /info/ lists them.")
    meaning = {_STROKES: selected, _BACKGROUND_STROKES: BACKGROUND_SEED}
    strokes = Segments({position: meaning.get(name, 0) for position, name in enumerate(named, start=1)})
    drawn = read_label_upload(path, grid, strokes, frozenset({BACKGROUND_SEED}), project.table)
    return drawn.with_array(project.tools.grow(ToolWork(f"{key} {selected}", drawn, None, lambda: scan)).labels), [
        selected
    ]


def _answer(
    project: Project, labels: Volume, reply: tuple[str, str, str, float], present: list[int] | None
) -> Response:
    model, extension, output, seconds = reply
    names = label_names(present if present is not None else occurring(labels.array), project.table)
    params = {"label_names": dict(names), "model": model, "latencies": {"total": seconds}}
    if output == "json":
        return JSONResponse(params)
    target = project.layout.temporary / f"{secrets.token_hex(12)}{extension}"
    try:
        write_labels(labels, target, table=project.table)
        content = target.read_bytes()
    finally:
        target.unlink(missing_ok=True)
    if output == "image":
        headers = {"content-disposition": f'attachment; filename="label{extension}"'}
        return Response(content, media_type=_media_type(extension), headers=headers)
    kind, body = multipart(params, f"label{extension}", content)
    return Response(body, media_type=kind)


def multipart(params: dict[str, Any], filename: str, content: bytes) -> tuple[str, bytes]:
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


def _table(text: str) -> dict[str, Any]:
    """The JSON object in a form's field.

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


def _names_of(listed: object) -> list[str]:
    entries = listed if isinstance(listed, list) else []
    return [str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in entries]


def _author(user: str, values: dict[str, Any]) -> str:
    """Who did it: the user; where nobody signs in, the id that 3D Slicer gives itself."""
    client = values.get("client_id")
    if user != LOCAL_USER or not isinstance(client, str):
        return user
    return tidy_note(client).strip()[:64] or user


def _scan_of(path: Path, project: Project) -> Volume:
    """An uploaded image as a scan: checked, then read as any other one, so that what is no CT is refused."""
    read_upload(path, project.settings.voxel_limit)
    kind = upload_format(path)
    named = path.with_name(path.name + kind.value)
    path.rename(named)
    try:
        return read_scan(named).volume
    finally:
        named.rename(path)


def _series_of(files: list[UploadFile], project: Project) -> Volume:
    """The files of one DICOM series, under names of ours, each looked at before the reader sees it."""
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


def _stats(project: Project) -> dict[str, Any]:
    states = project.states()
    tags: dict[str, int] = {}
    for version in project.store.currents().values():
        if version.tag:
            tags[version.tag] = tags.get(version.tag, 0) + 1
    completed = sum(state is CaseState.FINAL for state in states.values())
    return {"total": len(states), "completed": completed, "label_tags": tags}


def _entry(project: Project, case_id: str) -> dict[str, Any]:
    grid = project.cases.grid(case_id)
    facts = {"name": f"{case_id}.nii.gz", "ts": 0, "shape": None if grid is None else list(grid.shape)}
    labels = {}
    for tag in {v.tag for v in project.store.versions(case_id) if v.tag} | {FINAL_TAG, ORIGINAL_TAG}:
        version = project.store.tagged(case_id, tag)
        if version is not None:
            labels[tag] = {"ext": UploadFormat.NIFTI_GZ.value, "info": _label_info(project, version)}
    return {"image": {"ext": UploadFormat.NIFTI_GZ.value, "info": facts}, "labels": labels}


def _label_info(project: Project, version: Version) -> dict[str, Any]:
    names = project.names_in(version)
    return {
        "ts": version.created,
        "name": f"{version.case_id}.nii.gz",
        "version": version.number,
        "author": version.author,
        "params": {"label_names": dict(names)},
    }
