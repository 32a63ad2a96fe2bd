from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotation_server import Running
from vastus.annotation.project.review import CheckState
from vastus.annotation.project.store import Draft, Kind, Version
from vastus.volume import Volume
from viewer_page import Viewer, saved_labels

FEMUR_RIGHT = 128


@dataclass
class PlantedReview:
    """Two findings without the search for them: a femur to take away, and one without a proposal."""

    server: Running
    folder: Path
    states: dict[str, str] = field(default_factory=lambda: {"a1": "open", "b2": "open"})

    def refresh(self, _wait_s: float) -> None:
        pass

    def state(self) -> CheckState:
        return CheckState.CURRENT

    def rows(self) -> list[dict[str, Any]]:
        rows = [
            {
                "id": "a1",
                "case": "ras",
                "value": FEMUR_RIGHT,
                "kind": "island",
                "score": 2.5,
                "text": "3 pieces",
                "slice": 20,
                "point_mm": [105.0, 5.0, 226.0],
                "has_proposal": True,
            },
            {
                "id": "b2",
                "case": "lps",
                "value": 101,
                "kind": "unusual volume",
                "score": 1.2,
                "text": "40 % more",
                "slice": 3,
                "point_mm": [60.0, 0.0, 30.0],
                "has_proposal": False,
            },
        ]
        return [row | {"state": self.states[str(row["id"])]} for row in rows]

    def picture(self, finding_id: str) -> Path:
        path = self.folder / f"{finding_id}.png"
        buffer = io.BytesIO()
        Image.new("RGB", (120, 60), (90, 40, 40)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        return path

    def proposal(self, _finding_id: str) -> tuple[str, Volume, Volume]:
        labels = self.server.project.current_labels("ras")
        corrected = np.where(labels.array == FEMUR_RIGHT, 0, labels.array).astype(np.uint8)
        return "island, femur", labels, labels.with_array(corrected)

    def accept(self, finding_id: str, author: str) -> Version | None:
        project = self.server.project
        current = project.store.current("ras")
        assert current is not None
        labels = project.label_map(current)
        corrected = labels.with_array(np.where(labels.array == FEMUR_RIGHT, 0, labels.array).astype(np.uint8))
        self.states[finding_id] = "accepted"
        return project.save("ras", Draft(Kind.TOOL, author, current.number, "accepted"), corrected)

    def reject(self, finding_id: str, _author: str) -> None:
        self.states[finding_id] = "rejected"


@pytest.fixture
def review(server: Running, tmp_path: Path) -> PlantedReview:
    planted = PlantedReview(server, tmp_path)
    server.project.review = planted  # type: ignore[assignment]
    return planted


def test_accept_and_reject(server: Running, review: PlantedReview, open_viewer: Callable[..., Viewer]) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    viewer.page.click("#tab-findings")
    viewer.page.wait_for_selector("#findings img:visible")
    # An image whose source is not set yet calls itself complete: wait for its pixels.
    # As a function: a bare expression is evaluated in the page again and again, which its security policy forbids.
    viewer.page.wait_for_function("() => document.querySelector('#findings img').naturalWidth === 120")
    assert viewer.page.locator("#findings h3").all_inner_texts() == [
        "Femur, right: Island",
        "Sartorius, right: Unusual volume",
    ]
    viewer.page.click(".finding[data-id=a1] button:has-text('Open')")
    assert viewer.place["voxel"][2] == 20
    assert viewer.text("#selected strong") == "Femur"
    viewer.page.click(".finding[data-id=a1] button:has-text('Accept correction')")
    viewer.page.wait_for_selector("#proposal:visible td")
    assert "Femur" in viewer.text("#proposal") and review.states["a1"] == "open"
    viewer.page.click("#accept-proposal")
    viewer.wait_for_version(2)
    labels, _ = saved_labels(server, "ras", 2)
    assert FEMUR_RIGHT not in labels
    assert viewer.page.evaluate(f"vastus.scene.map.counts[{FEMUR_RIGHT}]") == 0
    assert viewer.page.locator(".finding").count() == 1
    viewer.page.focus(".finding[data-id=b2] button:has-text('Reject')")
    viewer.keys("Enter")
    viewer.page.wait_for_selector("#findings-empty:visible")
    assert review.states == {"a1": "accepted", "b2": "rejected"}
    viewer.page.check("#show-judged")
    assert viewer.page.locator(".finding .tag").all_inner_texts() == ["accepted", "rejected"]
