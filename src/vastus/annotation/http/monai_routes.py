"""MONAI Label's REST protocol, at the root, as 3D Slicer's module speaks it.

What that client needs and does not say: ``config`` at the top of ``/info/`` must be empty; ``details`` of a training
never is; the n-th name of ``label_names`` belongs to the n-th value that occurs in the label map, so that only those
that occur are named; a saved label map numbers its segments 1, 2, ... in the order of ``label_info``.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from vastus.annotation.http.access import By, CurrentProject, User, user_of
from vastus.annotation.http.monai_answers import (
    APP_NAME,
    TRAINER,
    AnswerForm,
    answer,
    entry_of,
    label_info_of,
    server_info,
    stats_of,
)
from vastus.annotation.http.monai_labelling import GROW_MODEL, grown, segmented
from vastus.annotation.http.monai_requests import InferForm, InferQuery, author_of, scan_of, series_of, values_of
from vastus.annotation.http.viewer_routes import NIFTI_GZ, grid_of, version_row
from vastus.annotation.models.trainer import TrainRequest
from vastus.annotation.names import checked_name, name_from
from vastus.annotation.project.project import Project
from vastus.annotation.project.sessions import DEFAULT_SECONDS, LONGEST_SECONDS
from vastus.annotation.project.store import FINAL_TAG, ORIGINAL_TAG, Draft, Kind, Version
from vastus.annotation.refusals import BadRequestError, UnknownItemError
from vastus.annotation.uploads.intake import Segments, read_label_upload
from vastus.annotation.uploads.receiving import received_file
from vastus.curation.ranking import Strategy
from vastus.errors import InputError
from vastus.io.nnunet_layout import image_name, labels_name

router = APIRouter(dependencies=[Depends(user_of)], tags=["MONAI Label"])

_FORMATS: Final = (".nii.gz", ".nrrd", ".seg.nrrd", ".nii")


@router.get("/info/")
@router.get("/info", include_in_schema=False)
def info(project: CurrentProject) -> dict[str, Any]:
    """What this server can do."""
    return server_info(project)


@router.get("/datastore/")
@router.get("/datastore", include_in_schema=False)
def datastore(project: CurrentProject, output: str = "stats") -> Any:
    """The scans and labels: ``output`` is stats, all or train."""
    if output == "all":
        return {
            "name": APP_NAME,
            "description": "",
            "objects": {c.id: entry_of(project, c.id) for c in project.cases.all()},
        }
    if output == "train":
        found = project.labels.finals()
        return [{"image": image_name(f.case_id), "label": labels_name(f.case_id)} for f in found]
    return stats_of(project)


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
    values_of(params)
    case_id = name_from(image, "case") if image else f"scan_{secrets.token_hex(6)}"
    with received_file(file, project.layout.temporary) as path:
        scan = scan_of(path, project)
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
    return dict(entry_of(project, project.cases.get(image).id)["image"]["info"])


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
    values = values_of(params)
    tag = checked_name(tag, "tag") if tag else FINAL_TAG
    case_id = project.cases.get(image).id
    segments = Segments.from_label_info(values.get("label_info"), project.table)
    with received_file(label, project.layout.temporary) as path:
        labels = read_label_upload(path, grid_of(project, case_id), segments, table=project.table)
    kind = Kind.MODEL if tag == ORIGINAL_TAG else Kind.HUMAN
    saved = project.save(case_id, Draft(kind, author_of(user, values), note="MONAI Label", tag=tag), labels)
    return {"image": case_id, "label": case_id, "tag": tag} | version_row(saved)


@router.get("/datastore/label", response_class=FileResponse)
@router.get("/datastore/label/", include_in_schema=False, response_class=FileResponse)
def get_label(project: CurrentProject, label: str, tag: str = FINAL_TAG) -> FileResponse:
    """The newest label of a case under a tag: final, original, or a client's own."""
    version = _tagged(project, label, tag)
    return FileResponse(project.store.file(version), media_type=NIFTI_GZ, filename=f"{version.case_id}.nii.gz")


@router.get("/datastore/label/info")
def label_info(project: CurrentProject, label: str, tag: str = FINAL_TAG) -> dict[str, Any]:
    """What is known of a label."""
    return label_info_of(project, _tagged(project, label, tag))


def _tagged(project: Project, case_id: str, tag: str) -> Version:
    version = project.store.tagged(project.cases.get(case_id).id, tag or FINAL_TAG)
    if version is None:
        raise UnknownItemError("This case has no label under that tag.")
    return version


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
        scan = scan_of(path, project) if len(files) == 1 else series_of(files, project)
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
    values = values_of(params)
    extension = str(values.get("result_extension") or ".nii.gz")
    if extension not in _FORMATS:
        raise BadRequestError("result_extension must be one of " + ", ".join(_FORMATS) + ".")
    start = time.perf_counter()
    if model == GROW_MODEL:
        labelled = await run_in_threadpool(grown, project, user, query, form, values)
    else:
        labelled = await segmented(project, user, model, query, form)
        if values.get("save_label") in (True, "true") and query.image and not form.file and not query.session_id:
            author = author_of(user, values)
            await run_in_threadpool(project.save_prediction, query.image, labelled.model, labelled.labels, author)
    seconds = round(time.perf_counter() - start, 3)
    return await run_in_threadpool(answer, project, labelled, AnswerForm(extension, query.output, seconds))


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
        case_id = project.reserve_first(left, author_of(user, params or {}))
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
