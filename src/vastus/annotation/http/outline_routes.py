"""``/api/cases/{id}/outlines``: slices drawn with strokes, cuts and bands; ``/drawn``: saving them with the labels.

What is drawn is kept with the version, as are the strokes of the brush. Both are in the order RAS of the scan.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Body, Depends, Form, Query, Response, UploadFile
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from vastus.anatomy import BUILT_IN, SIDES, UNLABELLED, Side, StructureTable
from vastus.annotation.http.access import By, Caller, CurrentProject, user_of
from vastus.annotation.http.viewer_routes import grid_of, version_row
from vastus.annotation.names import checked_name, tidy_note
from vastus.annotation.project.merging import centre_of, merge_labels
from vastus.annotation.project.project import Project
from vastus.annotation.project.store import Draft, Kind, Version
from vastus.annotation.refusals import BadRequestError, StaleParentError, TooLargeError
from vastus.annotation.uploads.intake import read_label_upload
from vastus.annotation.uploads.receiving import received_file
from vastus.refinement.outline import Outline, Polyline
from vastus.refinement.outline_files import outline_text, parse_outline
from vastus.refinement.outlining import Outlined, Outliner
from vastus.volume import Volume, to_ras

router = APIRouter(prefix="/api/cases/{case_id}", dependencies=[Depends(user_of)], tags=["Outlines"])

_MOST_POINTS: Final = 20_000
_MOST_ABOUT: Final = 16 << 20
_OUTLINERS_KEPT: Final = 8


class DrawQuery(BaseModel):
    """On which side the slice's structures lie, from which version it is drawn, and whether it is only shown."""

    side: Side = Side.UNKNOWN
    parent: int | None = None
    preview: bool = False


class About(BaseModel):
    """What is said about labels from the screen: ``outlines`` by slice, ``strokes`` of the brush in their order."""

    parent: int | None = None
    note: str = ""
    tag: str = ""
    merge: bool = False
    overwrite: bool = False
    outlines: dict[int, dict[str, Any] | None] = Field(default_factory=dict)
    strokes: list[dict[str, Any]] = Field(default_factory=list)


@router.post("/outlines/{index}", status_code=201)
async def draw_slice(
    case_id: str,
    index: int,
    by: By,
    outline: Annotated[dict[str, Any], Body()],
    query: Annotated[DrawQuery, Query()],
    response: Response,
) -> dict[str, Any]:
    """Draw a slice (counted from the feet, points in RAS order) and save it as a new version of kind ``tool``.

    All other slices stay as they are in ``parent`` (or the current version); without a version they are unlabelled.
    With ``preview`` nothing is saved: the slice comes back, base64 of gzip of uint8 values, i fastest.
    """
    spec = _parsed(outline, query.side, by.project.table)
    by.project.cases.get(case_id)
    if query.preview:
        response.status_code = 200
        return await run_in_threadpool(_preview, by.project, case_id, index, spec)

    def work() -> dict[str, Any]:
        drawn, version = _draw(by, case_id, index, spec, query.parent)
        return version_row(version) | _remarks(drawn)

    return await run_in_threadpool(work)


@router.get("/versions/{version}/outlines")
def outlines(case_id: str, version: int, project: CurrentProject) -> dict[str, Any]:
    """What was drawn in the slices of a version: slice -> outline."""
    project.cases.get(case_id)
    found = project.store.outlines(project.store.version(case_id, version))
    return {str(index): json.loads(text) for index, text in found.items()}


@router.get("/versions/{version}/strokes")
def strokes(case_id: str, version: int, project: CurrentProject) -> list[dict[str, Any]]:
    """What was painted with the brush up to a version, in its order."""
    project.cases.get(case_id)
    found: list[dict[str, Any]] = json.loads(project.store.strokes(project.store.version(case_id, version)))
    return found


@router.post("/drawn", status_code=201)
async def save_drawn(case_id: str, by: By, labels: UploadFile, about: Annotated[str, Form()] = "{}") -> dict[str, Any]:
    """Save labels (.nii.gz) as a new version, with the outlines and the strokes that led to them.

    With ``merge`` a version that somebody saved since ``parent`` is kept, too: each voxel holds what either changed.
    Where both changed a voxel the answer is 409 and says where; with ``overwrite`` those voxels are saved as sent.
    """
    if len(about) > _MOST_ABOUT:
        raise TooLargeError("The strokes are too many for one version.", remedy="Save more often.")
    try:
        drawing = About.model_validate_json(about)
    except ValidationError as error:
        raise BadRequestError("What is said about the labels is malformed.") from error
    if drawing.tag:
        checked_name(drawing.tag, "tag")
    specs = {
        k: None if one is None else _parsed(one, Side.UNKNOWN, by.project.table) for k, one in drawing.outlines.items()
    }
    by.project.cases.get(case_id)

    def work() -> dict[str, Any]:
        with received_file(labels, by.project.layout.temporary) as path:
            sent = read_label_upload(path, grid_of(by.project, case_id), table=by.project.table)
        return version_row(_save_drawn(by, case_id, drawing, specs, sent))

    return await run_in_threadpool(work)


def _save_drawn(by: Caller, case_id: str, drawing: About, specs: dict[int, Outline | None], sent: Volume) -> Version:
    project = by.project
    parent = None if drawing.parent is None else project.store.version(case_id, drawing.parent)
    current = project.store.current(case_id)
    note = tidy_note(drawing.note)
    if drawing.merge and parent is None and current is not None and not drawing.overwrite:
        raise StaleParentError(
            f"{current.author} saved version {current.number} of a case that was empty when you began.",
            remedy="Look at it first; your strokes stay in the browser until you save over it.",
        )
    if drawing.merge and parent is not None and current is not None and current.number != parent.number:
        sent = _merged(project, parent, current, sent, overwrite=drawing.overwrite)
        note = tidy_note(f"{note} (joined with version {current.number})".strip())
    # A slice painted over with the brush keeps its outline: the brush's strokes are kept beside it.
    kept = {} if current is None else project.store.outlines(current)
    drawn = {k: text for k, text in kept.items() if k not in specs}
    drawn |= {k: outline_text(spec) for k, spec in specs.items() if spec is not None}
    painted = [] if current is None else json.loads(project.store.strokes(current))
    base = current.number if drawing.merge and current is not None else drawing.parent
    draft = Draft(Kind.HUMAN, by.user, base, note, drawing.tag, drawn, json.dumps([*painted, *drawing.strokes]))
    return project.save(case_id, draft, sent)


def _merged(project: Project, parent: Version, current: Version, sent: Volume, *, overwrite: bool) -> Volume:
    """What was sent together with what somebody else saved.

    Raises:
        StaleParentError: both changed the same voxels; the message says how many and where.
    """
    merged = merge_labels(project.label_map(parent).array, project.label_map(current).array, sent.array)
    if merged.clashes and not overwrite:
        i, j, k = centre_of(to_ras(sent.with_array(merged.both.astype(np.uint8))).array > 0)
        raise StaleParentError(
            f"{current.author} changed {merged.clashes} of the same voxels in version {current.number}, "
            f"most of them around voxel {i}, {j}, {k}.",
            remedy="Look at both, then save again and overwrite them, or take your change back there.",
        )
    return sent.with_array(merged.labels)


def _parsed(outline: dict[str, Any], side: Side, table: StructureTable) -> Outline:
    """An outline as it was sent; its own side goes before that of the address.

    Raises:
        BadRequestError, TooLargeError, SettingsError: it can't be drawn.
    """
    try:
        spec = parse_outline(json.dumps(outline, ensure_ascii=False).encode().decode(), table)
    except UnicodeEncodeError as error:
        raise BadRequestError("The outline holds characters that are none.") from error
    if sum(map(len, _lines(spec))) > _MOST_POINTS:
        raise TooLargeError(f"An outline has at most {_MOST_POINTS} points.")
    return replace(spec, side=side) if spec.side is Side.UNKNOWN else spec


def _preview(project: Project, case_id: str, index: int, spec: Outline) -> dict[str, Any]:
    drawn = _outlined(project, case_id, index, spec)
    values = values_of(drawn.labels, spec)
    packed = gzip.compress(values.T.tobytes(), compresslevel=1)
    return {"labels": base64.b64encode(packed).decode("ascii")} | _remarks(drawn)


def _remarks(drawn: Outlined) -> dict[str, Any]:
    remarks = [{"structure": r.key, "text": r.text} for r in drawn.remarks]
    return {"remarks": remarks, "unclaimed_voxels": int(drawn.unclaimed.sum())}


def _draw(by: Caller, case_id: str, index: int, spec: Outline, parent: int | None) -> tuple[Outlined, Version]:
    project = by.project
    scan = project.image(case_id)
    drawn = _outlined(project, case_id, index, spec)
    before = project.store.current(case_id) if parent is None else project.store.version(case_id, parent)
    kept = {} if before is None else project.store.outlines(before)
    # In the order of the file: a change of order costs seconds for a large scan.
    array = np.full(scan.shape, UNLABELLED, np.uint8, order="F")
    if before is not None:
        array = project.label_map(before).array.copy(order="K")
    labels = Volume(array, scan.affine)
    to_ras(labels).array[:, :, index] = values_of(drawn.labels, spec)
    draft = Draft(
        Kind.TOOL,
        by.user,
        parent,
        f"slice {index} drawn",
        outlines=kept | {index: outline_text(spec)},
    )
    return drawn, project.save(case_id, draft, labels)


class _Outliners:
    """The outliners of the slices that were drawn last: a second stroke in a slice costs less than its first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, int], tuple[threading.Lock, Outliner]] = OrderedDict()
        self._guard = threading.Lock()

    def outline(self, key: tuple[str, int, int], scan: Volume, spec: Outline) -> Outlined:
        with self._guard:
            found = self._known.pop(key, None) or (threading.Lock(), Outliner(to_ras(scan).array, key[2]))
            self._known[key] = found
            while len(self._known) > _OUTLINERS_KEPT:
                self._known.popitem(last=False)
        lock, outliner = found
        with lock:
            return outliner.outline(spec)


_OUTLINERS: Final = _Outliners()


def _outlined(project: Project, case_id: str, index: int, spec: Outline) -> Outlined:
    scan = project.image(case_id)
    shape = to_ras(scan).array.shape
    if not 0 <= index < shape[2]:
        raise BadRequestError(f"There is no slice {index}: the case has {shape[2]}, the first is 0.")
    if not _near(spec, shape):
        raise BadRequestError("Some points lie far outside the slice.")
    path = project.cases.image_path(case_id)
    return _OUTLINERS.outline((str(path), path.stat().st_mtime_ns, index), scan, spec)


def values_of(classes: NDArray[np.uint8], spec: Outline) -> NDArray[np.uint8]:
    """Class ids of a slice (I, J) as label values of the side that the outline names, or of both."""
    if spec.middle is None:
        return _on_side(classes, spec.side, spec.table)
    right = np.arange(classes.shape[0])[:, None] > spec.middle
    return np.where(right, *(_on_side(classes, side, spec.table) for side in SIDES))


def _on_side(classes: NDArray[np.uint8], side: Side, table: StructureTable = BUILT_IN) -> NDArray[np.uint8]:
    """Class ids as label values of a side; what lies in the midline has none."""
    lookup = np.arange(256, dtype=np.uint8)
    for structure in table.rows:
        lookup[structure.class_id] = structure.label_value(side)
    return lookup[classes]


def _lines(spec: Outline) -> list[Polyline]:
    lines = [line for strokes in spec.strokes for line in strokes.lines]
    return [*lines, *spec.background, *spec.cuts, *(p.points for p in spec.polygons)]


def _near(spec: Outline, shape: tuple[int, ...]) -> bool:
    """Whether no point is further away than the slice is wide: a line without end would take time without end."""
    points = [point for line in _lines(spec) for point in line]
    return all(-n <= c <= 2 * n for point in points for c, n in zip(point, shape, strict=False))
