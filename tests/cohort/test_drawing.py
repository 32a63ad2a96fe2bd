import pytest

from vastus.cohort import figures
from vastus.cohort.drawing import LIBRARIES, FigureFolder
from vastus.errors import OutputError
from vastus.second_process import SecondProcess


@pytest.fixture(scope="module")
def task(results):
    dataset = results.dataset
    tasks = figures.tasks_of_relations(dataset.flow, results.counts, results.status_correlations, dataset.table)
    return next(task for task in tasks if task.name == "groups")


def drawn(folder, task, *, beside):
    process = SecondProcess(*LIBRARIES, beside=beside)
    try:
        made = FigureFolder(folder, process)
        made.add(task)
        texts = made.svg_texts()
    finally:
        process.close()
    return texts, {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_draws_the_same_bytes(tmp_path, task):
    here = drawn(tmp_path / "here", task, beside=False)
    beside = drawn(tmp_path / "beside", task, beside=True)
    assert here == beside
    assert list(here[0]) == ["groups"] and here[0]["groups"].encode() == here[1]["heatmap_groups.svg"]
    assert sorted(here[1]) == ["heatmap_groups.pdf", "heatmap_groups.png", "heatmap_groups.svg"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path, task):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="output folder"):
        drawn(tmp_path / "file" / "figures", task, beside=False)
