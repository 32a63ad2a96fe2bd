from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

import pytest

from vastus import light_imports
from vastus.light_imports import left_out, load_ndimage, put_off


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


def test_an_import_beside_another_misses_no_finder(tmp_path, monkeypatch):
    (tmp_path / "found_all_the_same.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    block = left_out("nothing_of_this_name")

    class OtherThread(MetaPathFinder):
        """Stands for a thread that ends its own import while this one goes through the finders."""

        def find_spec(self, fullname, *_):
            if fullname == "found_all_the_same":
                block.__exit__(None, None, None)

    others = [finder for finder in sys.meta_path if finder is not PathFinder]
    monkeypatch.setattr(sys, "meta_path", [*others, OtherThread(), PathFinder])
    block.__enter__()
    assert importlib.import_module("found_all_the_same")


def test_a_module_that_is_put_off_is_imported_when_it_is_used(tmp_path, monkeypatch):
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "used.py").write_text("value = 7\n")
    (package / "never_used.py").write_text("raise RuntimeError\n")
    (tmp_path / "a_holder.py").write_text("from a_package import never_used, used\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("a_package")
    with put_off("a_package.used", "a_package.never_used"):
        holder = importlib.import_module("a_holder")
    assert "a_package.used" not in sys.modules and not hasattr(sys.modules["a_package"], "used")
    assert holder.used.value == 7
    real = sys.modules["a_package.used"]
    assert real is not holder.used and sys.modules["a_package"].used is real
    with put_off("a_package.used"):
        assert sys.modules["a_package.used"] is real


def test_a_module_that_is_put_off_can_be_used_at_once():
    _run(
        "import sys, numpy\n"
        "from vastus.light_imports import put_off\n"
        "with put_off('numpy.ma'):\n"
        "    from numpy.ma import masked_array\n"
        "assert masked_array is sys.modules['numpy.ma'].masked_array is numpy.ma.masked_array\n"
    )


def test_what_a_package_holds_already_is_not_taken_from_it(tmp_path, monkeypatch):
    package = tmp_path / "older_package"
    package.mkdir()
    (package / "__init__.py").write_text("import colorsys as held\n")
    (package / "held.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    older = importlib.import_module("older_package")
    before = older.held
    with put_off("older_package.held"):
        assert older.held is before
    assert older.held is before


def test_a_stand_in_of_another_thread_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "put_off_twice.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with put_off("put_off_twice"):  # which another thread may look for just now
        assert light_imports._is_installed("put_off_twice")


def test_what_is_not_installed_stays_missing():
    with put_off("not_installed_at_all", "json.not_there"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("not_installed_at_all")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("json.not_there")


def test_ndimage_comes_without_what_it_only_holds_and_works():
    _run(
        "import sys\n"
        "import numpy as np\n"
        "from vastus.light_imports import load_ndimage\n"
        "ndimage = load_ndimage()\n"
        "assert not {'numpy.f2py', 'numpy.testing', 'scipy.special'} & set(sys.modules)\n"
        "assert np.allclose(ndimage.rotate(np.eye(5), 90), np.eye(5)[::-1])\n"
        "import numpy.testing, scipy.special\n"
        "numpy.testing.assert_allclose(scipy.special.ndtr(0.0), 0.5)\n"
    )


def test_once_ndimage_is_loaded_nothing_is_put_off(monkeypatch):
    ndimage = load_ndimage()
    monkeypatch.setattr(light_imports, "put_off", None)
    assert load_ndimage() is ndimage


def test_loops_come_without_yaml_which_can_be_imported_afterwards():
    _run("import sys, vastus.loops\nassert 'yaml' not in sys.modules\nimport yaml\nassert yaml.safe_load('a: 1')\n")


def test_statistics_come_lightly_and_give_the_same():
    _run(
        "import sys\n"
        "from vastus.light_imports import load_models, load_statistics\n"
        "assert load_statistics() is load_statistics() is sys.modules['scipy.stats']\n"
        "load_models()\n"
        "load_models()\n"
        "assert not {'formulaic', 'numpy.f2py'} & set(sys.modules)\n"
        "import numpy as np, pandas as pd\n"
        "from scipy import stats\n"
        "assert np.isclose(stats.ttest_1samp([1.0, 2.0, 4.0], 0.0).pvalue, 0.11808290)\n"
        "from statsmodels.formula.api import ols\n"
        "table = pd.DataFrame({'x': [0.0, 1.0, 2.0, 3.0], 'y': [1.0, 3.0, 5.0, 7.0]})\n"
        "assert np.allclose(ols('y ~ x', table).fit().params, [1.0, 2.0])\n"
        "assert 'formulaic' in sys.modules or 'patsy' in sys.modules\n"
        "import numpy.f2py, sklearn.metrics\n"
    )
