"""What ``run.json`` says: versions of what is installed, and structures that are likely wrong."""

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace
from typing import Any

import pytest

from vastus import run_record
from vastus.anatomy import BUILT_IN, BY_KEY, Side
from vastus.io.csv_tables import VolumeRow
from vastus.quality import Agreement
from vastus.run_record import Expected, judged, versions
from vastus.version import __version__

SARTORIUS, GRACILIS = (BY_KEY[key].label_value(Side.LEFT) for key in ("sartorius", "gracilis"))


def test_a_library_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version_of(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError
        return "1.2"

    monkeypatch.setattr(run_record, "installed_version", version_of)
    found = versions()
    assert found["vastus"] == __version__ and found["numpy"] == "1.2" and "torch" not in found


@pytest.mark.parametrize("fragment", [False, True])
def test_a_fragment_is_not_called_likely_wrong(fragment: bool) -> None:
    segmentation: Any = SimpleNamespace(table=BUILT_IN, alarms=("stop",))
    rows = [
        VolumeRow("scan", key, BY_KEY[key].group.value, Side.LEFT, 1000.0, 50.0, False, fragment and key == "sartorius")
        for key in ("sartorius", "gracilis")
    ]
    bad = Agreement(0.2, 0.1, 0.3, 0.9)
    said = judged(segmentation, Expected({SARTORIUS: bad, GRACILIS: bad}), rows)
    assert set(said["agreement"]["structures"]) == {"sartorius", "gracilis"}
    stop, wrong = said["alarms"]
    assert stop == "stop" and said["missing"] == []
    assert wrong.startswith("1 structure is" if fragment else "2 structures are") and "racilis" in wrong
