"""``/api``: what the browser viewer and scripts use."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from vastus.anatomy import UNLABELLED
from vastus.annotation.http.access import CurrentProject, User, user_of
from vastus.annotation.models.trainer import TrainRequest
from vastus.annotation.names import checked_name, tidy_note
from vastus.annotation.project.project import Project
from vastus.annotation.project.store import CaseState, Draft, Kind, Version
from vastus.annotation.refusals import NotReadyError, UnknownItemError
from vastus.annotation.structures import structure_rows
from vastus.annotation.uploads.intake import read_label_upload
from vastus.annotation.uploads.receiving import received_body
from vastus.io.scan_types import VoxelGrid

router = APIRouter(prefix="/api", dependencies=[Depends(user_of)], tags=["Vastus"])

NIFTI_GZ, NIFTI = "application/gzip", "application/octet-stream"
UNPACK = {"content-encoding": "gzip"}


class SaveQuery(BaseModel):
    """What is said about a version: made from which one, a note, a tag (``final``)."""

    parent: int | None = None
    note: str = ""
    tag: str = ""


@router.get("/me")
async def me(user: User, project: CurrentProject) -> dict[str, Any]:
    """Who is asking."""
    return {"name": user, "signed_in": project.accounts is not None}


@router.get("/structures")
async def structures(project: CurrentProject) -> list[dict[str, Any]]:
    """Every label value with its name, side and colour."""
    return structure_rows(project.table)


@router.get("/cases")
def cases(project: CurrentProject) -> list[dict[str, Any]]:
    """All scans of the project."""
    project.cases.rescan()
    currents, locks = project.store.currents(), project.store.locks()
    selected = project.registry.selected()
    scores = project.store.scores(selected) if selected else {}
    rows = []
    for case in project.cases.all():
        grid = project.cases.grid(case.id)
        current = currents.get(case.id)
        lock = locks.get(case.id)
        rows.append(
            {
                "id": case.id,
                "name": case.id,
                "shape": None if grid is None else list(grid.shape),
                "spacing_mm": None if grid is None else spacing_of(grid),
                "state": (current.state if current else CaseState.UNLABELLED).value,
                "versions": current.number if current else 0,
                "locked_by": lock.holder if lock else None,
                "score": scores.get(case.id),
                "problem": project.cases.problem(case.id),
            }
        )
    return rows


@router.get("/cases/{case_id}/image.nii.gz", response_class=FileResponse)
def image(case_id: str, project: CurrentProject) -> FileResponse:
    """The scan in HU."""
    return FileResponse(project.cases.image_path(case_id), media_type=NIFTI_GZ, filename=f"{case_id}.nii.gz")


@router.get("/cases/{case_id}/image.nii", response_class=FileResponse)
def image_to_unpack(case_id: str, project: CurrentProject) -> FileResponse:
    """The same bytes, for a client that unpacks what it receives by itself, as browsers do."""
    return FileResponse(project.cases.image_path(case_id), media_type=NIFTI, headers=UNPACK)


@router.get("/cases/{case_id}/versions")
def versions(case_id: str, project: CurrentProject) -> list[dict[str, Any]]:
    """The history of a case's label, oldest first."""
    project.cases.get(case_id)
    return [version_row(version) for version in project.store.versions(case_id)]


@router.get("/cases/{case_id}/versions/{version}/labels.nii.gz", response_class=FileResponse)
def labels(case_id: str, version: int, project: CurrentProject) -> FileResponse:
    """One version of the label."""
    project.cases.get(case_id)
    found = project.store.version(case_id, version)
    return FileResponse(
        project.store.file(found),
        media_type=NIFTI_GZ,
        filename=f"{case_id}-{version}.nii.gz",
        headers={"x-vastus-sha256": found.sha256},
    )


@router.get("/cases/{case_id}/versions/{version}/labels.nii", response_class=FileResponse)
def labels_to_unpack(case_id: str, version: int, project: CurrentProject) -> FileResponse:
    """The same bytes, for a client that unpacks what it receives by itself."""
    project.cases.get(case_id)
    return FileResponse(project.store.file(project.store.version(case_id, version)), media_type=NIFTI, headers=UNPACK)


_LABEL_BODY = {
    "requestBody": {"required": True, "content": {NIFTI_GZ: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/cases/{case_id}/versions", status_code=201, openapi_extra=_LABEL_BODY)
async def save_version(
    case_id: str, request: Request, user: User, project: CurrentProject, query: Annotated[SaveQuery, Query()]
) -> dict[str, Any]:
    """Save a label map (the body: .nii.gz or .nrrd on the voxels of the case) as a new version."""
    if query.tag:
        checked_name(query.tag, "tag")
    project.cases.get(case_id)
    draft = Draft(Kind.HUMAN, user, query.parent, tidy_note(query.note), query.tag)
    async with received_body(request, project.layout.temporary) as path:

        def take() -> Version:
            return project.save(case_id, draft, read_label_upload(path, grid_of(project, case_id), table=project.table))

        return version_row(await run_in_threadpool(take))


@router.post("/cases/{case_id}/undo", status_code=201)
def undo(case_id: str, user: User, project: CurrentProject) -> dict[str, Any]:
    """Save a version that equals the parent of the current one."""
    return version_row(project.undo(case_id, user))


@router.post("/cases/{case_id}/lock")
def lock(case_id: str, user: User, project: CurrentProject) -> dict[str, Any]:
    """Take the case, or keep it for another quarter of an hour: nobody else can save meanwhile."""
    project.cases.get(case_id)
    taken = project.store.lock(case_id, user)
    return {"locked_by": taken.holder, "expires": taken.expires}


@router.delete("/cases/{case_id}/lock")
def unlock(case_id: str, user: User, project: CurrentProject) -> dict[str, Any]:
    """Give the case back."""
    project.cases.get(case_id)
    project.store.unlock(case_id, user)
    return {"locked_by": None}


@router.get("/cases/{case_id}/versions/{version}/volumes")
def volumes(case_id: str, version: int, project: CurrentProject) -> list[dict[str, Any]]:
    """Volume in ml and mean HU of every structure of a version."""
    project.cases.get(case_id)
    found = project.store.version(case_id, version)
    return volume_rows(project, found)


@router.post("/cases/{case_id}/infer", status_code=201)
async def infer(case_id: str, user: User, project: CurrentProject, model: str | None = None) -> dict[str, Any]:
    """Let a network label the case; what it finds becomes a new version."""
    await run_in_threadpool(project.store.refuse_locked, case_id, user)
    queued = await run_in_threadpool(project.segment, case_id, model, user)
    name, found = await asyncio.wrap_future(queued)
    saved = await run_in_threadpool(project.save_prediction, case_id, name, found.labels, user)
    return version_row(saved) | {"warnings": list(found.warnings)}


@router.get("/queue")
def queue(project: CurrentProject) -> list[dict[str, Any]]:
    """What the network works on and what waits for it, in the order of its turn; position 0 has begun."""
    return [
        {
            "id": row.id,
            "kind": row.purpose.kind.value,
            "case": row.purpose.case_id,
            "who": row.purpose.who,
            "state": row.state.value,
            "position": row.position,
            "stage": row.stage,
            "done": row.done,
            "total": row.total,
            "seconds_left": None if row.seconds_left is None else round(row.seconds_left, 1),
        }
        for row in project.engine.queue()
    ]


@router.delete("/queue/{job_id}")
def leave_queue(job_id: str, user: User, project: CurrentProject) -> dict[str, Any]:
    """Stop one's own request, or one that the server does for itself, before its next window."""
    project.engine.stop(job_id, user)
    return {"id": job_id, "stopped": True}


@router.get("/models")
def models(project: CurrentProject) -> list[dict[str, Any]]:
    """The networks that can be chosen, the newest last."""
    return [
        {
            "name": entry.name,
            "selected": entry.selected,
            "created": entry.created,
            "metrics": dict(entry.metrics),
            "description": entry.trained_on,
        }
        for entry in project.registry.entries()
    ]


@router.post("/models/{name}/select")
def select_model(name: str, project: CurrentProject) -> dict[str, Any]:
    """Choose the network that is used when none is named, and from which trainings start."""
    project.registry.select(name)
    return {"name": name, "selected": True}


@router.post("/train", status_code=201)
def train(project: CurrentProject, values: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
    """Train on the final labels, from the selected model: minutes or steps, learning_rate, fresh."""
    return project.trainer.start(TrainRequest.from_values(values or {})).status()


@router.get("/train")
def training(project: CurrentProject) -> dict[str, Any]:
    """How the training stands, or the last one; an empty object if there was none."""
    task = project.trainer.task()
    return task.status() if task is not None else {}


@router.delete("/train")
def stop_training(project: CurrentProject) -> dict[str, Any]:
    """Stop the training."""
    return project.trainer.stop().status()


def version_row(version: Version) -> dict[str, Any]:
    """A version as clients get it."""
    return {
        "version": version.number,
        "kind": version.kind.value,
        "author": version.author,
        "created": version.created,
        "parent": version.parent,
        "equals": version.equals,
        "note": version.note,
        "tag": version.tag,
        "sha256": version.sha256,
    }


def grid_of(project: Project, case_id: str) -> VoxelGrid:
    """The grid that labels of a case must lie on; the scan is read if that is what it takes."""
    project.cases.image_path(case_id)
    grid = project.cases.grid(case_id)
    if grid is None:
        raise NotReadyError("The grid of this case is not known.")
    return grid


def spacing_of(grid: VoxelGrid) -> list[float]:
    """Distance of neighbouring voxels along the axes of a grid, in mm."""
    return [round(float(s), 6) for s in np.linalg.norm(grid.affine[:3, :3], axis=0)]


def volume_rows(project: Project, version: Version) -> list[dict[str, Any]]:
    """Volume and density of the structures that occur in a version."""
    from vastus.morphometry.voxels import tally_labels

    found = project.label_map(version)
    scan = project.image(version.case_id)
    if scan.array.shape != found.array.shape:
        raise UnknownItemError("The scan of this case was replaced; this version lies on the one before.")
    seen = np.where(found.array == UNLABELLED, 0, found.array).astype(np.uint8)
    tally = tally_labels(seen, scan.array, project.table)
    rows = []
    for row, label in enumerate(project.table.labels):
        count, with_hu = int(tally.voxels[row]), int(tally.hu_voxels[row])
        if count:
            rows.append(
                {
                    "value": label.value,
                    "name": label.structure.english,
                    "side": label.side.value,
                    "volume_ml": round(count * found.voxel_volume_mm3 / 1000.0, 3),
                    "mean_hu": round(float(tally.hu_sum[row]) / with_hu, 2) if with_hu else None,
                }
            )
    return rows
