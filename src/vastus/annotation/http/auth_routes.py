"""``/auth``: the same endpoints for MONAI Label clients and for the viewer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel

from vastus.annotation.http.access import COOKIE, CurrentProject, User, token_of


class SignIn(BaseModel):
    """What OAuth2's password grant sends; ``grant_type`` and what else comes with it is not looked at."""

    username: str
    password: str


router = APIRouter(prefix="/auth", tags=["Auth"])


@router.get("/")
@router.get("", include_in_schema=False)
async def enabled(project: CurrentProject) -> dict[str, Any]:
    """Whether one must sign in."""
    return {"enabled": project.accounts is not None, "client_id": "", "realm": ""}


@router.post("/token")
@router.post("/token/", include_in_schema=False)
async def token(
    project: CurrentProject, request: Request, response: Response, form: Annotated[SignIn, Form()]
) -> dict[str, Any]:
    """Sign in: a bearer token, also set as a cookie that only this site's pages send."""
    if project.accounts is None:
        return {"access_token": "", "token_type": "bearer"}
    address = request.client.host if request.client is not None else ""
    given = await project.accounts.sign_in_from(form.username, form.password, address)
    seconds = int(project.accounts.token_seconds)
    response.set_cookie(
        COOKIE, given, max_age=seconds, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return {"access_token": given, "token_type": "bearer", "expires_in": seconds}


@router.get("/token/valid")
@router.get("/token/valid/", include_in_schema=False)
async def valid(user: User) -> dict[str, Any]:
    """Who the token belongs to; 401 if it is not good."""
    return {"username": user, "email": None, "name": user, "roles": ["user"]}


@router.post("/logout")
async def logout(project: CurrentProject, request: Request, response: Response) -> dict[str, Any]:
    """Forget the token."""
    if project.accounts is not None:
        project.accounts.sign_out(token_of(request))
    response.delete_cookie(COOKIE)
    return {}
