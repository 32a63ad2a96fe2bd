"""``/api``: which case comes next, where the model is unsure, and which labels look wrong."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from vastus.annotation.http.access import By, Caller, CurrentProject, User, user_of
from vastus.annotation.http.previews import preview_of
from vastus.annotation.http.viewer_routes import NIFTI_GZ, version_row
from vastus.annotation.project.uncertainty_queue import CaseUncertainty
from vastus.curation.ranking import Strategy

router = APIRouter(prefix="/api", dependencies=[Depends(user_of)], tags=["Review"])

_FIRST_WAIT_SECONDS = 20.0
_MOST_NAMED = 3
"""Structures of a case that the ranking names."""


@router.get("/ranking")
def ranking(
    project: CurrentProject,
    response: Response,
    strategy: Strategy = Strategy.UNCERTAINTY,
    seed: Annotated[int, Query(ge=0, lt=2**32)] = 0,
) -> list[dict[str, Any]]:
    """Cases that nobody has corrected yet, the one to take first in front.

    By expected agreement each row also names the structures to look at first: most of the work is saved by these.
    What the order needs and is not known yet is computed in the background; those cases come last. The header
    ``x-vastus-pending`` says how many they are.
    """
    ranked, pending = project.uncertainty_queue.rank(strategy, seed=seed)
    response.headers["x-vastus-pending"] = str(pending)
    rows: list[dict[str, Any]] = [{"id": r.case, "score": round(r.score, 6)} for r in ranked]
    if strategy is Strategy.AGREEMENT:
        for row in rows:
            row["structures"] = project.uncertainty_queue.doubtful(row["id"], _MOST_NAMED)
    return rows


@router.get("/cases/{case_id}/uncertainty")
async def uncertainty(case_id: str, by: By, model: str | None = None) -> list[dict[str, Any]]:
    """How unsure the model is of each structure, 0..1, the least sure first; computed if it is not known yet."""
    return (await _uncertainty(by, case_id, model)).rows()


@router.get("/cases/{case_id}/uncertainty.nii.gz", response_class=FileResponse)
async def uncertainty_map(case_id: str, by: By, model: str | None = None) -> FileResponse:
    """The same for each voxel, 0..100, on the grid of the case."""
    found = await _uncertainty(by, case_id, model)
    return FileResponse(found.map_path, media_type=NIFTI_GZ, filename=f"{case_id}-uncertainty.nii.gz")


@router.get("/findings")
def findings(project: CurrentProject, response: Response) -> list[dict[str, Any]]:
    """Labels that look wrong, the most suspicious first. The header ``x-vastus-check`` says how current the list is.

    The first time, or when labels have changed since, a check is begun; small projects get its result at once.
    """
    project.review.refresh(_FIRST_WAIT_SECONDS)
    response.headers["x-vastus-check"] = project.review.state().value
    return project.review.rows()


@router.post("/findings", status_code=202)
def check(project: CurrentProject) -> dict[str, Any]:
    """Check the labels again, in the background."""
    project.review.start()
    return {"state": project.review.state().value}


@router.get("/findings/{finding_id}/picture.png", response_class=FileResponse)
def picture(finding_id: str, project: CurrentProject) -> FileResponse:
    """A picture of the place."""
    return FileResponse(project.review.picture(finding_id), media_type="image/png")


@router.get("/findings/{finding_id}/proposal")
def proposal(finding_id: str, project: CurrentProject) -> dict[str, Any]:
    """What accepting would change: mL of each structure, and the voxels."""
    note, before, after = project.review.proposal(finding_id)
    return preview_of(note, before, after).row()


@router.post("/findings/{finding_id}/accept")
def accept(finding_id: str, project: CurrentProject, user: User) -> dict[str, Any]:
    """Agree: the proposed correction becomes a new version; without one the finding stays open, to be drawn by hand."""
    version = project.review.accept(finding_id, user)
    if version is None:
        return {"id": finding_id, "state": "open"}
    return {"id": finding_id, "state": "accepted"} | version_row(version)


@router.post("/findings/{finding_id}/reject")
def reject(finding_id: str, project: CurrentProject, user: User) -> dict[str, Any]:
    """Disagree: the label stays as it is."""
    project.review.reject(finding_id, user)
    return {"id": finding_id, "state": "rejected"}


async def _uncertainty(by: Caller, case_id: str, model: str | None) -> CaseUncertainty:
    asked = partial(by.project.uncertainty_queue.ask, case_id, model, who=by.user)
    return await asyncio.wrap_future(await run_in_threadpool(asked))
