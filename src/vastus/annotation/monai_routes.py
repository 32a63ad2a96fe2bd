"""MONAI Label's REST protocol, at the root, as 3D Slicer's module speaks it."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from vastus.annotation.access import user_of

router = APIRouter(dependencies=[Depends(user_of)], tags=["MONAI Label"])
