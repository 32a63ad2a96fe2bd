"""Kept loops: what is loaded was made for these arguments, whoever else compiled at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = textwrap.dedent(
    """
    import sys
    import numpy as np
    from {home} import njit

    @njit(cache=True)
    def first_column(a):
        total = 0
        for i in range(a.shape[0]):
            total += a[i, 0] * (i + 1)
        return total

    def arrays():
        wide = np.arange(24).reshape(6, 4)
        return {{"whole": wide[:, :].copy(), "cut": wide[:, :2]}}
    """
)


def run(folder: Path, text: str) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "kept")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{textwrap.dedent(text)}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UNAWARE = """
    import loop
    # This process has looked into the index before the other one wrote to it.
    type(loop.first_column._cache._cache_file)._load_index = lambda _: {}
    loop.first_column(loop.arrays()["whole"])
"""


@pytest.mark.parametrize("home", ["vastus.loops", "numba"])
def test_two_processes_that_compile_at_one_time_do_not_mix_up_their_code(tmp_path: Path, home: str) -> None:
    """With numba's own files this goes wrong, which shows that the test can fail."""
    (tmp_path / "loop.py").write_text(SOURCE.format(home=home))
    run(tmp_path, "import loop; loop.first_column(loop.arrays()['cut'])")
    index = next((tmp_path / "kept").rglob("*.nbi"))
    of_the_first = index.read_bytes()
    run(tmp_path, UNAWARE)
    index.write_bytes(of_the_first)  # the first one's index is written last
    right = sum(int(n) * (i + 1) for i, n in enumerate(range(0, 24, 4)))
    found = run(tmp_path, "import loop; print(loop.first_column(loop.arrays()['cut']))")
    assert (int(found) == right) is (home == "vastus.loops")


def test_code_from_older_source_is_not_loaded_although_the_index_points_to_it(tmp_path: Path) -> None:
    """As a process leaves it that is ended between writing index and code."""
    path = tmp_path / "loop.py"
    path.write_text(SOURCE.format(home="vastus.loops"))
    run(tmp_path, "import loop; loop.first_column(loop.arrays()['cut'])")
    code = next((tmp_path / "kept").rglob("*.nbc"))
    old = code.read_bytes()
    path.write_text(SOURCE.format(home="vastus.loops").replace("total = 0", "total = 1000"))
    run(tmp_path, "import loop; loop.first_column(loop.arrays()['cut'])")
    code.write_bytes(old)
    assert int(run(tmp_path, "import loop; print(loop.first_column(loop.arrays()['cut']))")) > 1000


def test_a_loop_is_loaded_and_not_compiled_again(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(SOURCE.format(home="vastus.loops"))
    text = "import loop; from vastus.loops import is_kept; before = is_kept(loop.first_column)\n"
    text += "loop.first_column(loop.arrays()['cut'])\n"
    text += "print(before, sum(loop.first_column.stats.cache_hits.values()))"
    assert run(tmp_path, text) == "False 0"
    assert run(tmp_path, text) == "True 1"


def test_a_kept_loop_is_loaded_without_what_only_compiling_needs_and_others_are_compiled_after_it(
    tmp_path: Path,
) -> None:
    source = SOURCE.format(home="vastus.loops") + textwrap.dedent(
        """
        @njit(cache=True)
        def doubled(a):
            return np.dot(a, a) + first_column(a), a * 2
        """
    )
    (tmp_path / "loop.py").write_text(source)
    text = """
        import loop
        whole = loop.np.eye(3)
        one = loop.first_column(whole)
        seen = "numba.typed.dictobject" in sys.modules
        sums, twice = loop.doubled(whole)
        print(sum(loop.first_column.stats.cache_hits.values()), seen, one, float(sums.sum()), float(twice.sum()))
    """
    assert run(tmp_path, text) == "0 True 1.0 12.0 6.0"
    for kept in (tmp_path / "kept").rglob("*doubled*"):
        kept.unlink()
    assert run(tmp_path, text) == "1 False 1.0 12.0 6.0"
    assert run(tmp_path, text) == "1 False 1.0 12.0 6.0"
