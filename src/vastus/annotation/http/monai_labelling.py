"""The labels that a client of MONAI Label's protocol asks for: by a model, or grown from strokes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from vastus.annotation.http.monai_requests import InferForm, InferQuery, names_of, scan_of
from vastus.annotation.http.viewer_routes import grid_of
from vastus.annotation.models.engine import Purpose, RequestKind
from vastus.annotation.project.project import Project
from vastus.annotation.project.toolbox import ToolWork
from vastus.annotation.refusals import BadRequestError
from vastus.annotation.uploads.intake import Segments, read_label_upload
from vastus.annotation.uploads.receiving import received_file
from vastus.io.scan_types import VoxelGrid
from vastus.io.scans import read_scan
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED
from vastus.volume import Volume

GROW_MODEL: Final = "grow_from_seeds"
_BACKGROUND_STROKES: Final = "background_scribbles"
_STROKES: Final = "foreground_scribbles"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Labels for the client.

    Attributes:
        model: that gave them.
        labels: label values.
        told: the values whose names the client is told; None: all that occur.
    """

    model: str
    labels: Volume
    told: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Strokes:
    """A file of strokes, and the scan they were drawn on.

    Attributes:
        path: of the file.
        grid: of the scan.
        key: of the scan, under which the tools keep what they made of it.
        scan: in HU.
    """

    path: Path
    grid: VoxelGrid
    key: str
    scan: Volume


async def segmented(project: Project, user: str, model: str, query: InferQuery, form: InferForm) -> Labelled:
    """Let a model label a case, an image that came along, or that of a session."""
    if form.file is None and not query.session_id:
        return Labelled(*await asyncio.wrap_future(await run_in_threadpool(project.label, query.image, model, user)))
    bundle = project.registry.bundle(model)

    def scan() -> Volume:
        if query.session_id:
            return read_scan(project.sessions.get(query.session_id, user).image).volume
        assert form.file is not None
        with received_file(form.file, project.layout.temporary) as path:
            return scan_of(path, project)

    volume = await run_in_threadpool(scan)
    future = project.engine.submit(lambda load: load(bundle).label(volume), Purpose(RequestKind.LABEL, who=user))
    return Labelled(bundle.folder.name, await asyncio.wrap_future(future))


def grown(project: Project, user: str, query: InferQuery, form: InferForm, values: dict[str, Any]) -> Labelled:
    """Grow the strokes that came as ``label``: of any number of structures, or Slicer's two kinds of scribbles."""
    if form.label is None:
        raise BadRequestError("Growing needs strokes.", remedy="Send them as the file 'label'.")
    named = names_of(values.get("label_info"))
    if query.session_id:
        scan = read_scan(project.sessions.get(query.session_id, user).image).volume
        grid, key = VoxelGrid(scan.shape, scan.affine), f"session {query.session_id}"
    else:
        case_id = project.cases.get(query.image).id
        scan, grid, key = project.image(case_id), grid_of(project, case_id), case_id
    with received_file(form.label, project.layout.temporary) as path:
        if _STROKES in named:
            return _one_structure(project, _Strokes(path, grid, key, scan), named, values)
        segments = Segments.from_label_info(values.get("label_info"), project.table)
        drawn = read_label_upload(path, grid, segments, frozenset({BACKGROUND_SEED}), project.table)
    return Labelled(GROW_MODEL, _grown_from(project, key, drawn, scan))


def _one_structure(project: Project, sent: _Strokes, named: list[str], values: dict[str, Any]) -> Labelled:
    """Grow 3D Slicer's scribbles: foreground and background strokes for the structure that is selected there."""
    selected = project.table.value_of_name.get(str(values.get("selected_label_name")))
    if selected is None:
        raise BadRequestError("selected_label_name must name a structure.", remedy="GET /info/ lists them.")
    meaning = {_STROKES: selected, _BACKGROUND_STROKES: BACKGROUND_SEED}
    strokes = Segments({position: meaning.get(name, 0) for position, name in enumerate(named, start=1)})
    drawn = read_label_upload(sent.path, sent.grid, strokes, frozenset({BACKGROUND_SEED}), project.table)
    return Labelled(GROW_MODEL, _grown_from(project, f"{sent.key} {selected}", drawn, sent.scan), (selected,))


def _grown_from(project: Project, key: str, drawn: Volume, scan: Volume) -> Volume:
    return drawn.with_array(project.tools.grow(ToolWork(key, drawn, None, lambda: scan)).labels)
