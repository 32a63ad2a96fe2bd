from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toy_bundle import write_painted_scan, write_toy_bundle
from vastus.batch.processor import Extras, SegmentFactory
from vastus.batch.task import Task, Work
from vastus.inference.choices import Device, RuntimeOptions
from vastus.io.csv_tables import read_volume_rows
from vastus.io.tables import MEASURES_FILE, VOLUMES_FILE
from vastus.morphometry.settings import MeasureSettings

MEDIAN_ONLY = MeasureSettings(percentiles=(50.0,))


@pytest.mark.parametrize("work", [Work.SEGMENT, Work.MEASURE])
def test_the_page_of_a_scan_shows_the_measures_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    write_painted_scan(tmp_path / "ct.nii.gz")
    shown: list[SimpleNamespace] = []

    def keep(_path: Path, _ct: Any, _labels: Any, rows: Any, _record: Any, measures: Any, **_: Any) -> None:
        shown.append(SimpleNamespace(volumes=rows, measures=measures))

    monkeypatch.setattr("vastus.report.page.write_page", keep)
    bundle = write_toy_bundle(tmp_path / "weights")
    factory = SegmentFactory.of(bundle, RuntimeOptions(Device.CPU), extras=Extras(pages=True, settings=MEDIAN_ONLY))
    processor = factory.open(1)
    folder = tmp_path / "out"
    if work is Work.MEASURE:
        processor.process(_task(tmp_path, folder, Work.SEGMENT))
        shown.clear()
    processor.process(_task(tmp_path, folder, work))
    (page,) = shown
    lines = (folder / MEASURES_FILE).read_text(encoding="utf-8").splitlines()[1:]
    in_table = {line.split(",")[4] for line in lines}
    assert {row.measure for row in page.measures} == in_table
    assert {name for name in in_table if name.startswith("p") and name.endswith("_hu")} == {"p50_hu"}
    assert [row.structure for row in page.volumes] == [row.structure for row in read_volume_rows(folder / VOLUMES_FILE)]


def _task(folder: Path, output: Path, work: Work) -> Task:
    return Task(1, "a1", "p1", folder / "ct.nii.gz", None, output, work)
