"""What the server refuses, by name, with the HTTP status that goes with it.

Every refusal is answered as ``{"error": NAME, "detail": TEXT, "remedy": TEXT or null}``. Errors of the lower rooms keep
their names: ``LabelError``, ``GeometryError`` and the other ``InputError`` are 422, a missing file is 404.
"""

from __future__ import annotations

from http import HTTPStatus

from vastus.errors import BundleError, DeviceError, InputError, MissingExtraError, MissingInputError, VastusError


class Refusal(VastusError):
    """Base of the server's own refusals."""

    status = HTTPStatus.BAD_REQUEST


class BadRequestError(Refusal):
    """A parameter is missing, malformed or out of range."""


class BadNameError(Refusal):
    """A name that may hold letters, digits, dot, hyphen and underscore only holds something else."""


class NotSignedInError(Refusal):
    """No token, an unknown one, or an expired one."""

    status = HTTPStatus.UNAUTHORIZED


class WrongPasswordError(Refusal):
    """User name and password do not belong together."""

    status = HTTPStatus.UNAUTHORIZED


class ForeignOriginError(Refusal):
    """The request comes from a page of another site, or names a host that this server is not."""

    status = HTTPStatus.FORBIDDEN


class UnknownCaseError(Refusal):
    """No such case."""

    status = HTTPStatus.NOT_FOUND


class UnknownItemError(Refusal):
    """No such version, label, session, model, finding or task."""

    status = HTTPStatus.NOT_FOUND


class StaleParentError(Refusal):
    """Someone saved in the meantime: the version that was edited is not the current one any more."""

    status = HTTPStatus.CONFLICT


class NothingToUndoError(Refusal):
    """The current version has no parent."""

    status = HTTPStatus.CONFLICT


class AlreadyThereError(Refusal):
    """A case of that name exists."""

    status = HTTPStatus.CONFLICT


class NotReadyError(Refusal):
    """Something that must come first has not been done: two final labels before a training, a label before a volume."""

    status = HTTPStatus.CONFLICT


class TooLargeError(Refusal):
    """The body, or what it unpacks to, is larger than it may be."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class SlowBodyError(Refusal):
    """A body that comes so slowly that it would keep its place for ever."""

    status = HTTPStatus.REQUEST_TIMEOUT


class UnreadableUploadError(Refusal):
    """The bytes are not what they should be."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class WrongGridError(Refusal):
    """A label map that does not lie on the voxels of its case."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class LockedCaseError(Refusal):
    """Someone else is working on the case."""

    status = HTTPStatus.LOCKED


class StoppedError(Refusal):
    """Somebody stopped the request before the network was done."""

    status = HTTPStatus.CONFLICT


class NotYoursError(Refusal):
    """Somebody else's request: only they may stop it."""

    status = HTTPStatus.FORBIDDEN


class BusyError(Refusal):
    """Too much is waiting already, or a training is running."""

    status = HTTPStatus.TOO_MANY_REQUESTS


_STATUS: tuple[tuple[type[VastusError], HTTPStatus], ...] = (
    (MissingInputError, HTTPStatus.NOT_FOUND),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MissingExtraError, HTTPStatus.NOT_IMPLEMENTED),
    (BundleError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (DeviceError, HTTPStatus.UNPROCESSABLE_ENTITY),
)


def status_of(error: VastusError) -> HTTPStatus:
    """The HTTP status of an error; 500 for those that are the server's own fault (disk full)."""
    if isinstance(error, Refusal):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
