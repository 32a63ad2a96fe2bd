"""Every command in the README and under docs/ runs.

Of each page all ``bash`` (``sh``) and ``python`` blocks and the ``$`` lines of ``console`` blocks are run in their
order, in one folder that holds small synthetic files (see ``sandbox_files``). A block that can't run in a test has a
line ``<!-- test: skip REASON -->`` right above it; the reason is required.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LIMIT_S = 300
_FENCE = re.compile(r"^(\s*)```\s*([\w+-]*)\s*.*$")
_SKIP = re.compile(r"<!--\s*test:\s*skip\b(.*?)-->")


@dataclass(frozen=True)
class Block:
    """A runnable block of a page; ``line`` is where it starts, ``skip`` why it is not run."""

    page: Path
    line: int
    language: str
    code: str
    skip: str | None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(page: Path, text: str) -> list[Block]:
    """The bash, console and python blocks of a page, in their order."""
    found = []
    opened: tuple[int, str, str] | None = None
    body: list[str] = []
    skip: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, body = (number, fence[1], fence[2].lower()), []
        elif opened is not None and line.strip() == "```":
            start, _, language = opened
            if language == "console":
                body = [entry[2:] for entry in body if entry.startswith("$ ")]
            language = "bash" if language in {"console", "sh", "shell"} else language
            if language in {"bash", "python"} and any(body):
                found.append(Block(page, start, language, "\n".join(body), skip))
            opened, skip = None, None
        elif opened is not None:
            body.append(line.removeprefix(opened[1]))
        elif marker := _SKIP.search(line):
            skip = marker[1].strip()
        elif line.strip():
            skip = None
    return found


BLOCKS = [block for page in PAGES if page.exists() for block in blocks_of(page, page.read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block_runs(block: Block, sandbox) -> None:
    if block.skip is not None:
        assert block.skip, f"{block.name}: a skip needs its reason"
        pytest.skip(block.skip)
    folder = sandbox(block.page.name)
    command = (
        ["bash", "-euo", "pipefail", "-c", block.code]
        if block.language == "bash"
        else [sys.executable, "-c", block.code]
    )
    result = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert result.returncode == 0, f"{block.name}\n{block.code}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"


def environment() -> dict[str, str]:
    """The caller's, with this interpreter's programs first."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "2",
        "MPLBACKEND": "Agg",
        "COLUMNS": "120",
    }


def test_blocks_are_found_with_their_markers():
    page = ROOT / "docs" / "example.md"
    text = (
        "Text\n```bash\nvastus classes\n```\n\n<!-- test: skip needs a GPU -->\n```bash\nvastus train x\n```\n"
        "1. list\n   ```console\n   $ vastus classes\n   value structure\n   ```\n```json\n{}\n```\n"
        "<!-- test: skip -->\n\n```python\nprint(1)\n```\n"
    )
    assert [(b.line, b.language, b.code, b.skip) for b in blocks_of(page, text)] == [
        (2, "bash", "vastus classes", None),
        (7, "bash", "vastus train x", "needs a GPU"),
        (11, "bash", "vastus classes", None),
        (20, "python", "print(1)", ""),
    ]


def test_files_of_the_sandbox_are_what_their_names_say(sandbox_files):
    import numpy as np

    from vastus.io.labels import read_labels
    from vastus.io.scans import read_scan
    from vastus.volume import to_ras

    scan, dicom = read_scan(sandbox_files / "scan.nii.gz").volume, read_scan(sandbox_files / "dicom_folder").volume
    assert scan.same_grid(read_labels(sandbox_files / "labels.nii.gz"))
    assert to_ras(dicom).same_grid(to_ras(scan))
    assert np.array_equal(to_ras(dicom).array, to_ras(scan).array)
    assert (sandbox_files / "volumes.csv").is_file()
    assert (sandbox_files / "clinical.csv").is_file()
