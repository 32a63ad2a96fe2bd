"""The ASGI application: routes, refusals, the viewer's files, and the guard around all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vastus.annotation.http import (
    auth_routes,
    monai_routes,
    outline_routes,
    overview_routes,
    review_routes,
    tool_routes,
    viewer_routes,
)
from vastus.annotation.http.access import refuse_strangers
from vastus.annotation.http.middleware import BodyRefused, Guard, GuardSettings, error_body
from vastus.annotation.logs import LOG
from vastus.annotation.project.project import Project
from vastus.annotation.refusals import BadRequestError, NotSignedInError, status_of
from vastus.errors import OutputError, VastusError
from vastus.version import __version__

VIEWER: Final = Path(__file__).parents[1] / "viewer"


def create_app(project: Project) -> FastAPI:
    """The application of one project. Wrap it with ``guarded`` before it is served."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        project.close()

    # The interactive documentation of FastAPI loads scripts from elsewhere: it is off. /openapi.json is there.
    app = FastAPI(
        title="Vastus annotation server",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.project = project
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.include_router(auth_routes.router)
    app.include_router(viewer_routes.router)
    app.include_router(tool_routes.router)
    app.include_router(outline_routes.router)
    app.include_router(overview_routes.router)
    app.include_router(review_routes.router)
    app.include_router(monai_routes.router)
    _serve_viewer(app)
    return app


def guarded(app: FastAPI, project: Project) -> Guard:
    """The application behind the checks that every request must pass first."""
    settings = project.settings
    return Guard(
        app, GuardSettings(settings.hosts, settings.body_limit, lambda scope: refuse_strangers(project, scope))
    )


def _serve_viewer(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(VIEWER / "index.html", media_type="text/html")

    app.mount("/viewer", StaticFiles(directory=VIEWER, html=True, check_dir=False), name="viewer")


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, VastusError)
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        LOG.error("%s: %s", type(error).__name__, error.problem)
    headers = {"www-authenticate": "Bearer"} if isinstance(error, NotSignedInError) else None
    return JSONResponse(error_body(error), status_code=int(status), headers=headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = next(iter(error.errors()), {})
    where = ".".join(str(part) for part in first.get("loc", ()) if isinstance(part, str))
    problem = BadRequestError(f"{where}: {first.get('msg', 'malformed')}".encode("ascii", "replace").decode())
    return JSONResponse(error_body(problem), status_code=422)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyRefused):
        return JSONResponse(error_body(error.refusal), status_code=error.status_code)
    name = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    body = {"error": name, "detail": str(error.detail), "remedy": None}
    return JSONResponse(body, status_code=error.status_code, headers=dict(error.headers or {}))


async def _disk(_request: Request, error: Exception) -> Response:
    """The disk is full, or the data base can't be written: what was there before is untouched."""
    LOG.error("can't write: %s", error.strerror if isinstance(error, OSError) else type(error).__name__)
    problem = OutputError("The server can't write to its disk.", remedy="Free space there, and send it again.")
    return JSONResponse(error_body(problem), status_code=int(HTTPStatus.INSUFFICIENT_STORAGE))


async def _hung_up(_request: Request, _error: Exception) -> Response:
    """The client went away in the middle of its body: nobody reads this, and nothing failed."""
    return JSONResponse(error_body(BadRequestError("The body broke off.")), status_code=400)


async def _unexpected(_request: Request, error: Exception) -> Response:
    # Only the kind and place of the error: its text may hold what a client sent.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else "?"
    LOG.error("unexpected %s at %s", type(error).__name__, where)
    body = {"error": "InternalError", "detail": "The server failed; its log says where.", "remedy": None}
    return JSONResponse(body, status_code=500)


_HANDLERS: Final[dict[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    VastusError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _http,
    ClientDisconnect: _hung_up,
    OSError: _disk,
    OutputError: _disk,
    sqlite3.OperationalError: _disk,
    Exception: _unexpected,
}
