"""Bodies onto the disk, without ever holding one in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import Request, UploadFile
from starlette.concurrency import run_in_threadpool

from vastus.annotation.refusals import BadRequestError

_CHUNK = 1 << 20


@contextmanager
def incoming(folder: Path) -> Iterator[Path]:
    """A temporary path for received bytes; the name is the server's own."""
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def received_body(request: Request, folder: Path) -> AsyncIterator[Path]:
    """The body of a request as a file.

    Raises:
        BadRequestError: there is none.
    """
    with incoming(folder) as path:
        size = 0
        with path.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                await run_in_threadpool(file.write, chunk)
        if not size:
            raise BadRequestError("The body is empty.", remedy="Send the bytes of a .nii.gz.")
        yield path


@contextmanager
def received_file(upload: UploadFile, folder: Path) -> Iterator[Path]:
    """A file of a form as a file of ours. What the client calls it is not looked at."""
    with incoming(folder) as path:
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, _CHUNK)
        if not path.stat().st_size:
            raise BadRequestError("The file is empty.")
        yield path
