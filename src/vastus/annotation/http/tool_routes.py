"""``/api/cases/{id}/tools``: growing from seeds, filling between slices, smoothing, fixing one structure.

The body is the label map as it is on the annotator's screen, strokes not yet saved included; without a body the current
version is worked on. What comes out is a new version.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from vastus.anatomy import StructureTable
from vastus.annotation.http.access import By, user_of
from vastus.annotation.http.previews import Preview
from vastus.annotation.http.viewer_routes import grid_of, version_row
from vastus.annotation.project.store import Draft, Kind, Version
from vastus.annotation.project.toolbox import SlicePlane, Tool, ToolOptions, ToolWork, changes_of
from vastus.annotation.refusals import BadRequestError
from vastus.annotation.uploads.intake import read_label_upload
from vastus.annotation.uploads.receiving import incoming
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED

router = APIRouter(prefix="/api/cases/{case_id}/tools", dependencies=[Depends(user_of)], tags=["Tools"])

_MOST_LISTED = 4096
_COMPARING = (Tool.BETWEEN_SLICES, Tool.FIX, Tool.GROW)
"""Tools that ask what the annotator has changed."""

_BODY = {
    "requestBody": {
        "required": False,
        "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class ToolQuery(BaseModel):
    """What may be said to a tool; ``slices`` and ``give_way`` are numbers with commas."""

    parent: int | None = None
    value: int | None = None
    plane: SlicePlane = SlicePlane.AXIAL
    slices: str = Field(default="", max_length=40_000)
    width_mm: float = Field(default=3.0, gt=0, le=50)
    sigma_mm: float = Field(default=2.0, gt=0, le=50)
    give_way: str = Field(default="", max_length=2000)
    preview: bool = False

    def options(self, table: StructureTable) -> ToolOptions:
        """The same for the toolbox.

        Raises:
            BadRequestError: a list that is not one of numbers, or a structure that does not exist.
        """
        give_way = frozenset(_numbers(self.give_way, "give_way"))
        if unknown := sorted(give_way - set(table.by_value)):
            raise BadRequestError(f"There is no structure {unknown[0]}.", remedy="GET /api/structures lists them.")
        slices = tuple(_numbers(self.slices, "slices"))
        return ToolOptions(self.value, self.plane, slices, self.width_mm, self.sigma_mm, give_way)


@router.post("/{tool}", status_code=201, openapi_extra=_BODY)
async def run_tool(
    case_id: str, tool: Tool, request: Request, by: By, query: Annotated[ToolQuery, Query()], response: Response
) -> dict[str, Any]:
    """Run a tool; the result is a new version of kind ``tool``. With ``preview`` only what would change is told."""
    project = by.project
    project.cases.get(case_id)
    options = query.options(project.table)
    with incoming(project.layout.temporary) as path:
        with path.open("wb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)

        def work() -> Version | Preview:
            before = (
                project.store.current(case_id) if query.parent is None else project.store.version(case_id, query.parent)
            )
            needed = tool in _COMPARING or query.preview or not path.stat().st_size
            found = project.label_map(before) if before is not None and needed else None
            if path.stat().st_size:
                strokes = frozenset({BACKGROUND_SEED}) if tool is Tool.GROW else frozenset()
                drawn = read_label_upload(path, grid_of(project, case_id), also=strokes, table=project.table)
            else:
                drawn = project.current_labels(case_id) if found is None else found
            given = ToolWork(case_id, drawn, found, lambda: project.image(case_id))
            labels, note = project.tools.run(tool, given, options)
            if query.preview:
                return Preview(note, drawn, labels, changes_of(given, labels), project.table)
            return project.save(case_id, Draft(Kind.TOOL, by.user, query.parent, note), labels)

        made = await run_in_threadpool(work)
        if isinstance(made, Preview):
            response.status_code = 200
            return await run_in_threadpool(made.row)
        return version_row(made)


def _numbers(text: str, what: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _MOST_LISTED or any(not part.isascii() or not part.isdigit() or len(part) > 9 for part in parts):
        raise BadRequestError(f"{what} must be whole numbers with commas between.")
    return [int(part) for part in parts]
