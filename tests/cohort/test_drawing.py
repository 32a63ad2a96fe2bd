import subprocess
import sys

import pytest

from vastus.cohort import drawing, figures
from vastus.errors import OutputError


@pytest.fixture(scope="module")
def task(results):
    dataset = results.dataset
    tasks = figures.tasks_of_relations(dataset.flow, results.counts, results.status_correlations, dataset.table)
    return next(task for task in tasks if task.name == "groups")


def drawn(folder, task, *, beside):
    made = drawing.FigureFolder(folder, beside=beside)
    try:
        made.add(task)
        texts = made.svg_texts()
    finally:
        made.close()
    return texts, {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_draws_the_same_bytes(tmp_path, task, monkeypatch):
    here = drawn(tmp_path / "here", task, beside=False)
    monkeypatch.setattr(drawing, "_draw", lambda *_: pytest.fail("drawn here"))
    beside = drawn(tmp_path / "beside", task, beside=True)
    assert here == beside
    assert list(here[0]) == ["groups"] and here[0]["groups"].encode() == here[1]["heatmap_groups.svg"]
    assert sorted(here[1]) == ["heatmap_groups.pdf", "heatmap_groups.png", "heatmap_groups.svg"]


def test_what_a_second_process_could_not_draw_is_drawn_here(tmp_path, task, monkeypatch):
    def fail(_folder):
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stdin=subprocess.PIPE)

    monkeypatch.setattr(drawing, "_start", fail)
    assert len(drawn(tmp_path / "f", task, beside=True)[1]) == 3


def test_without_a_second_process_all_is_drawn_here(tmp_path, task, monkeypatch):
    monkeypatch.setattr(drawing, "_start", lambda _: None)
    assert len(drawn(tmp_path / "f", task, beside=True)[1]) == 3


@pytest.mark.parametrize(("processors", "started"), [(1, 0), (2, 1)])
def test_a_second_process_needs_a_second_processor(tmp_path, monkeypatch, processors, started):
    starts = []
    monkeypatch.setattr(drawing, "_start", starts.append)
    monkeypatch.setattr(drawing, "usable_processors", lambda: processors)
    with drawing.open_figure_folder(tmp_path):
        pass
    assert len(starts) == started


def test_a_second_process_ends_with_the_analysis(tmp_path, task):
    with pytest.raises(ZeroDivisionError), drawing.open_figure_folder(tmp_path / "f") as made:
        made.add(task)
        raise ZeroDivisionError
    assert made._process is None or made._process.returncode is not None


def test_a_folder_that_cannot_be_made_is_told(tmp_path, task):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="output folder"):
        drawn(tmp_path / "file" / "figures", task, beside=False)
