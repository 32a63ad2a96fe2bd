"""The optional part ``annotate``: what serves pages and takes uploads, for the annotation server and the app."""

from __future__ import annotations

from importlib.util import find_spec

from vastus.errors import MissingExtraError


def require_server(what: str) -> None:
    """Refuse by name when the optional part is not installed.

    Args:
        what: needs it, as the refusal calls it.

    Raises:
        MissingExtraError: it is not.
    """
    if any(find_spec(module) is None for module in ("fastapi", "uvicorn", "python_multipart")):
        raise MissingExtraError(what, "annotate")
