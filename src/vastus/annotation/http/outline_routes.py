"""``/api/cases/{id}/outlines``: one slice drawn with strokes, cuts and bands, which are kept with the version."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Body, Depends, Query
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from vastus.anatomy import BACKGROUND_ID, UNLABELLED, Side
from vastus.annotation.http.access import By, CurrentProject, user_of
from vastus.annotation.http.viewer_routes import version_row
from vastus.annotation.project.store import Draft, Kind, Version
from vastus.annotation.refusals import BadRequestError, TooLargeError
from vastus.refinement.outline import Outline, Polyline
from vastus.refinement.outline_files import outline_text, parse_outline
from vastus.refinement.outlining import Outlined, outline_slice
from vastus.volume import Volume, from_ras, to_ras

router = APIRouter(prefix="/api/cases/{case_id}", dependencies=[Depends(user_of)], tags=["Outlines"])

_MOST_POINTS: Final = 20_000


class DrawQuery(BaseModel):
    """On which side the slice's structures lie, and from which version it is drawn."""

    side: Side = Side.UNKNOWN
    parent: int | None = None


@router.post("/outlines/{index}", status_code=201)
async def draw_slice(
    case_id: str, index: int, by: By, outline: Annotated[dict[str, Any], Body()], query: Annotated[DrawQuery, Query()]
) -> dict[str, Any]:
    """Draw a slice (counted from the feet, points in RAS order) and save it as a new version of kind ``tool``.

    All other slices stay as they are in ``parent`` (or the current version); without a version they are unlabelled.
    """
    try:
        spec = parse_outline(json.dumps(outline, ensure_ascii=False).encode().decode())
    except UnicodeEncodeError as error:
        raise BadRequestError("The outline holds characters that are none.") from error
    if sum(map(len, _lines(spec))) > _MOST_POINTS:
        raise TooLargeError(f"An outline has at most {_MOST_POINTS} points.")
    by.project.cases.get(case_id)

    def work() -> dict[str, Any]:
        drawn, version = _draw(by, case_id, index, spec, query)
        remarks = [{"structure": r.key, "text": r.text} for r in drawn.remarks]
        return version_row(version) | {"remarks": remarks, "unclaimed_voxels": int(drawn.unclaimed.sum())}

    return await run_in_threadpool(work)


@router.get("/versions/{version}/outlines")
def outlines(case_id: str, version: int, project: CurrentProject) -> dict[str, Any]:
    """What was drawn in the slices of a version: slice -> outline."""
    project.cases.get(case_id)
    found = project.store.outlines(project.store.version(case_id, version))
    return {str(index): json.loads(text) for index, text in found.items()}


def _draw(by: By, case_id: str, index: int, spec: Outline, query: DrawQuery) -> tuple[Outlined, Version]:
    project, parent = by.project, query.parent
    scan = project.image(case_id)
    upright = to_ras(scan).array
    if not 0 <= index < upright.shape[2]:
        raise BadRequestError(f"There is no slice {index}: the case has {upright.shape[2]}, the first is 0.")
    if not _near(spec, upright.shape):
        raise BadRequestError("Some points lie far outside the slice.")
    drawn = outline_slice(upright, index, spec)
    before = project.store.current(case_id) if parent is None else project.store.version(case_id, parent)
    kept = {} if before is None else project.store.outlines(before)
    labels = np.full(upright.shape, UNLABELLED, np.uint8)
    if before is not None:
        labels[:] = to_ras(project.label_map(before)).array
    labels[:, :, index] = _on_side(drawn.labels, query.side)
    draft = Draft(
        Kind.TOOL,
        by.user,
        parent,
        f"slice {index} drawn",
        outlines=kept | {index: outline_text(spec)},
    )
    whole = Volume(from_ras(labels, scan).array, scan.affine)
    return drawn, project.save(case_id, draft, whole)


def _on_side(classes: NDArray[np.uint8], side: Side) -> NDArray[np.uint8]:
    """Class ids as label values of a side."""
    structure = (classes != BACKGROUND_ID) & (classes != UNLABELLED)
    return np.where(structure, classes + np.uint8(side.offset), classes).astype(np.uint8)


def _lines(spec: Outline) -> list[Polyline]:
    lines = [line for strokes in spec.strokes for line in strokes.lines]
    return [*lines, *spec.background, *spec.cuts, *(p.points for p in spec.polygons)]


def _near(spec: Outline, shape: tuple[int, ...]) -> bool:
    """Whether no point is further away than the slice is wide: a line without end would take time without end."""
    points = [point for line in _lines(spec) for point in line]
    return all(-n <= c <= 2 * n for point in points for c, n in zip(point, shape, strict=False))
