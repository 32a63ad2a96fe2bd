from __future__ import annotations

from pathlib import Path

from annotation_server import ONE_THREAD, serving
from vastus.annotation.project.project import ServerSettings
from vastus.annotation.project.users import Accounts, add_user, read_users
from viewer_page import Viewer


def test_sign_in(browser: object, project: Path, model: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    add_user(users, "anna", "a long password")
    with serving(ServerSettings(project, model, ONE_THREAD), Accounts(read_users(users))) as server:
        page = browser.new_page(viewport={"width": 1000, "height": 600})  # type: ignore[attr-defined]
        viewer = Viewer(page, server.address)
        page.goto(server.address)
        page.fill("dialog[open] [name=username]", "anna")
        page.fill("dialog[open] [name=password]", "a wrong one")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open] .problem")
        assert "do not match" in page.inner_text("dialog[open] .problem")
        page.fill("dialog[open] [name=username]", "anna")
        page.fill("dialog[open] [name=password]", "a long password")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-id=scan0]")
        assert page.inner_text("#user") == "anna"
        assert viewer.foreign_requests == []
        assert viewer.errors == []
        page.close()
