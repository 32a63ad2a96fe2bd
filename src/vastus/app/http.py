"""The app over HTTP: its page, and the annotation server in which results are corrected, at one address."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from vastus.annotation.http.app import create_app
from vastus.annotation.http.middleware import Guard, GuardSettings
from vastus.annotation.uploads.receiving import received_body
from vastus.app import person
from vastus.app.key import PAGE_PATH, Keyed
from vastus.app.service import App, is_table
from vastus.errors import SettingsError

PAGE: Final = Path(__file__).parent / "page"
_LARGEST_BODY: Final = 16 << 30
# A result's page is one file with scripts of its own. It gets no part of the app: it counts as another site's.
_ENCLOSED: Final = {
    "content-security-policy": "sandbox allow-scripts allow-downloads allow-modals allow-popups; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

router = APIRouter(prefix=PAGE_PATH, tags=["App"])


def app_of(request: Request) -> App:
    """The app that this server serves."""
    served: App = request.app.state.app
    return served


Served = Annotated[App, Depends(app_of)]


def create(served: App, key: str) -> Guard:
    """The application, behind the same checks as the annotation server's and the key.

    Args:
        served: the app.
        key: without it nothing is answered.
    """
    application: FastAPI = create_app(served.project)
    application.state.app = served
    application.include_router(router)
    application.mount(f"{PAGE_PATH}/page", StaticFiles(directory=PAGE), name="page")
    return Guard(Keyed(application, key), GuardSettings(body_limit=_LARGEST_BODY))


@router.get("", include_in_schema=False)
async def page() -> FileResponse:
    """The page."""
    return FileResponse(PAGE / "index.html", media_type="text/html")


@router.get("/state")
def state(served: Served) -> dict[str, Any]:
    """Work, results, comparisons."""
    return served.state()


@router.get("/form")
def form() -> dict[str, Any]:
    """What is asked of a person."""
    return person.form()


@router.post("/scans", status_code=201)
def add_path(served: Served, path: Annotated[str, Body(embed=True, max_length=4096)]) -> dict[str, Any]:
    """Queue the scans at a path of this computer."""
    return {"names": served.add_path(path)}


@router.post("/uploads", status_code=201)
def open_upload(served: Served) -> dict[str, str]:
    """Begin to send a scan's files."""
    return {"id": served.open_upload()}


@router.put("/uploads/{upload}", status_code=HTTPStatus.NO_CONTENT)
async def put_file(served: Served, upload: str, request: Request, name: Annotated[str, Query(max_length=4096)]) -> None:
    """One file; ``name`` may hold folders."""
    place = await run_in_threadpool(served.place_for, upload, name)
    async with received_body(request, served.layout.incoming) as received:
        await run_in_threadpool(received.rename, place)


@router.post("/uploads/{upload}", status_code=201)
def close_upload(served: Served, upload: str) -> dict[str, Any]:
    """All files are there."""
    return {"names": served.close_upload(upload)}


@router.delete("/uploads/{upload}", status_code=HTTPStatus.NO_CONTENT)
def drop_upload(served: Served, upload: str) -> None:
    """Break off."""
    served.drop_upload(upload)


@router.delete("/tasks/{task}", status_code=HTTPStatus.NO_CONTENT)
def cancel(served: Served, task: str) -> None:
    """Take out what waits, runs or has failed."""
    served.cancel(task)


@router.post("/tasks/{task}", status_code=HTTPStatus.NO_CONTENT)
def retry(served: Served, task: str) -> None:
    """Try again what has failed."""
    served.retry(task)


@router.get("/results/{name}")
def details(served: Served, name: str) -> dict[str, Any]:
    """A result with its volumes, the person, and the stage."""
    return served.results.details(served.results.get(name)) | {"corrected": served.corrected(name) is not None}


@router.delete("/results/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove(served: Served, name: str) -> None:
    """Remove a result."""
    served.remove(name)


@router.put("/results/{name}/person")
def save_person(served: Served, name: str, values: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Keep what is known of the person."""
    return served.save_person(name, values)


@router.get("/results/{name}/page", response_class=FileResponse)
def result_page(served: Served, name: str) -> FileResponse:
    """The page to judge the result by."""
    return FileResponse(served.results.get(name).page, media_type="text/html", headers=_ENCLOSED)


@router.post("/results/{name}/correction")
def correct(served: Served, name: str) -> dict[str, str]:
    """Open a result for correction: the address of the viewer."""
    return {"case": served.open_for_correction(name)}


@router.post("/results/{name}/measures", status_code=202)
def measure_again(served: Served, name: str) -> dict[str, str]:
    """Measure again, from the corrected labels."""
    served.measure_again(name)
    return {"name": name}


@router.post("/cohorts", status_code=201)
async def compare(
    served: Served,
    request: Request,
    names: Annotated[list[str], Query()],
    criteria: str = person.DEFAULT_CRITERIA,
    table: str = "",
) -> dict[str, str]:
    """Compare many results; a body, where ``table`` names it, is the clinical table."""
    if not table:
        return {"name": await run_in_threadpool(served.compare, names, criteria)}
    if not is_table(table):
        raise SettingsError("The table must be an Excel file (.xlsx) or a CSV.", remedy="Save it as one of them.")
    async with received_body(request, served.layout.incoming) as received:
        named = received.with_name(received.name + Path(table).suffix.lower())
        received.rename(named)
        try:
            return {"name": await run_in_threadpool(served.compare, names, criteria, named)}
        finally:
            named.unlink(missing_ok=True)


@router.get("/cohorts/{name}/page", response_class=FileResponse)
def cohort_page(served: Served, name: str) -> FileResponse:
    """The report of a comparison."""
    from vastus.io.tables import PAGE_FILE

    return FileResponse(served.results.cohort(name) / PAGE_FILE, media_type="text/html", headers=_ENCLOSED)


@router.get("/download", response_class=FileResponse)
def download(served: Served, names: Annotated[list[str] | None, Query()] = None) -> FileResponse:
    """A zip of everything, or of the named results."""
    packed = served.pack(names)
    return FileResponse(
        packed, media_type="application/zip", filename="vastus.zip", background=BackgroundTask(packed.unlink)
    )
