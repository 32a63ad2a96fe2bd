"""Who is asking: from the token, or from the loopback interface."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from vastus.annotation.names import checked_name
from vastus.annotation.project.project import Project
from vastus.annotation.project.users import Accounts
from vastus.annotation.refusals import NotSignedInError

COOKIE: Final = "vastus_token"
AUTHOR_HEADER: Final = "x-vastus-author"
LOCAL_USER: Final = "local"


def project_of(request: Request) -> Project:
    """The project that this server serves."""
    project: Project = request.app.state.project
    return project


def refuse_strangers(project: Project, scope: MutableMapping[str, Any]) -> None:
    """For requests that bring a body: who is asking is looked at before a byte of it is read.

    Raises:
        NotSignedInError: accounts are in use, and no valid token was sent.
    """
    if project.accounts is not None:
        signed_in(project.accounts, Request(scope))


def signed_in(accounts: Accounts, request: Request) -> str:
    """The user of the token that came with a request.

    Raises:
        NotSignedInError: there is none, or it is not good.
    """
    token = token_of(request)
    if not token:
        raise NotSignedInError("You are not signed in.", remedy="Sign in: POST /auth/token")
    return accounts.user_of(token)


def token_of(request: Request) -> str:
    """The bearer token of the header, or of the cookie; empty if there is none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.cookies.get(COOKIE, "")


async def user_of(request: Request) -> str:
    """The name of who is asking.

    Without accounts everybody on this machine is ``local``, unless the client names the annotator.

    Raises:
        NotSignedInError: accounts are in use, and no valid token was sent.
    """
    accounts = project_of(request).accounts
    if accounts is None:
        named = request.headers.get(AUTHOR_HEADER)
        return checked_name(named, "user") if named else LOCAL_USER
    return signed_in(accounts, request)


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who is asking, and of which project."""

    project: Project
    user: str


async def caller_of(request: Request, user: Annotated[str, Depends(user_of)]) -> Caller:
    """Both at once."""
    return Caller(project_of(request), user)


By = Annotated[Caller, Depends(caller_of)]
User = Annotated[str, Depends(user_of)]
CurrentProject = Annotated[Project, Depends(project_of)]
