"""Navigation from file names: a page is a start, how-to, reference or why page, as its name begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SECTIONS = {
    "Start": ("start-", "example-"),
    "How to": ("how-to-",),
    "Reference": ("reference-",),
    "Why": ("why-",),
}


def on_config(config: Any) -> Any:
    """Fill ``nav`` before the pages are read."""
    pages = sorted(path.relative_to(config["docs_dir"]) for path in Path(config["docs_dir"]).rglob("*.md"))
    nav: list[Any] = []
    for title, prefixes in SECTIONS.items():
        members = [path.as_posix() for path in pages if path.name.startswith(prefixes)]
        if title == "Start":
            nav.append({title: ["index.md", *members] if members else "index.md"})
        elif members:
            nav.append({title: members})
    config["nav"] = nav
    return config
