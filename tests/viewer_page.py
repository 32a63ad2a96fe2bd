"""The viewer as a person at the keyboard and mouse meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

if TYPE_CHECKING:
    from annotation_server import Running

READY = "body[data-ready]"


class Viewer:
    """One window with the viewer."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    @property
    def foreign_requests(self) -> list[str]:
        own = (self.address + "/", "data:", "blob:" + self.address)
        return [url for url in self.requests if not url.startswith(own)]

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)
        self.page.wait_for_selector(READY)

    def open(self, case: str) -> None:
        self.page.click(f"[data-id={case}]")
        self.wait_for_case(case)

    def wait_for_case(self, case: str) -> None:
        self.page.wait_for_function(
            """name => document.querySelector('#case-title').textContent === name
                && document.querySelector('#busy').hidden""",
            arg=case,
        )
        self.drawn()

    def wait_for_version(self, number: int) -> None:
        """Wait until a version is shown, and the save that made it is over: a next one is refused until then."""
        self.page.wait_for_function(
            "text => document.querySelector('#version-title').textContent.startsWith(text) && !vastus.workspace.saving",
            arg=f"version {number}",
        )

    def drawn(self) -> None:
        """Wait until what was asked for is on the screen."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    @property
    def place(self) -> dict[str, Any]:
        """Voxel (RAS) and label value under the crosshair, as the status line has it."""
        voxel, value = self.page.evaluate(
            "(() => { const here = document.querySelector('#here').dataset; return [here.voxel, here.value]; })()"
        )
        return {"voxel": [int(c) for c in voxel.split(",")], "value": int(value)}

    def middle_of(self, value: int) -> list[int]:
        return list(self.page.evaluate(f"vastus.scene.map.middleOf({value})"))

    def look_at(self, voxel: list[int]) -> None:
        self.page.evaluate(f"vastus.scene.goTo({voxel})")
        self.drawn()

    def on_screen(self, voxel: list[int]) -> tuple[float, float]:
        """Where a voxel of the slice on screen is, in the window."""
        x, y = self.page.evaluate(
            f"""(() => {{
                const {{ nv }} = vastus.scene;
                const at = nv.frac2canvasPos(nv.vox2frac({voxel}));
                const box = nv.canvas.getBoundingClientRect();
                return [box.left + at[0] / nv.uiData.dpr, box.top + at[1] / nv.uiData.dpr];
            }})()"""
        )
        return x, y

    def click_voxel(self, voxel: list[int]) -> None:
        self.page.mouse.click(*self.on_screen(voxel))
        self.drawn()

    def stroke(self, start: list[int], end: list[int]) -> None:
        self.page.mouse.move(*self.on_screen(start))
        self.page.mouse.down()
        self.page.mouse.move(*self.on_screen(end), steps=3)
        self.page.mouse.up()
        self.drawn()

    def save(self, note: str, *, final: bool = False) -> None:
        self.keys("Control+s")
        self.page.wait_for_selector("dialog[open] input[type=text]")
        self.page.keyboard.type(note)
        if final:
            self.page.check("dialog[open] input[type=checkbox]")
        self.page.click("dialog[open] button[value=save]")


def saved_labels(server: Running, case: str, version: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a version, as the server keeps it."""
    path = server.project.store.file(server.project.store.version(case, version))
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine
