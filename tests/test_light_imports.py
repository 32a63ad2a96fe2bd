from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from vastus.light_imports import left_out


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_importing_thread_is_told_that_a_package_is_missing(tmp_path, monkeypatch):
    (tmp_path / "here_it_is.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = []

    def import_it() -> None:
        import here_it_is

        found.append(here_it_is)

    with left_out("here_it_is"):
        with pytest.raises(ModuleNotFoundError, match="here_it_is"):
            import_it()
        other = threading.Thread(target=import_it)
        other.start()
        other.join()
    assert len(found) == 1
    monkeypatch.delitem(sys.modules, "here_it_is")
    import_it()
    assert len(found) == 2


def test_nibabel_comes_without_pydicom_which_can_be_imported_afterwards():
    _run(
        "import sys\n"
        "from vastus.light_imports import load_nibabel\n"
        "nibabel = load_nibabel()\n"
        "assert nibabel.Nifti1Header and 'pydicom' not in sys.modules\n"
        "import pydicom\n"
        "assert pydicom.Dataset\n"
    )


def test_loops_come_without_linear_algebra_which_other_loops_can_still_use():
    _run(
        "import sys\n"
        "import vastus.loops\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "import numba, numpy as np\n"
        "table = np.array([[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]])\n"
        "covariance = numba.njit(lambda values: np.cov(values))\n"
        "assert np.allclose(covariance(table), np.cov(table))\n"
        "assert np.allclose(numba.njit(lambda a: a @ a.T)(table), table @ table.T)\n"
    )
