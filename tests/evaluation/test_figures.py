from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from vastus.anatomy import BUILT_IN
from vastus.evaluation import figures
from vastus.evaluation import metrics as m
from vastus.evaluation.drawing import FIGURES_FOLDER, draw_into
from vastus.evaluation.figure_data import figure_data
from vastus.evaluation.figures import FigureTask, figure_tasks, write_figure
from vastus.io.png import write_png
from vastus.io.tables import SIDE, STRUCTURE, SUBJECT
from vastus.second_process import SecondProcess

PAIR = ("gracilis", "sartorius")


def scores_of(*models: str, cases: int = 2) -> list[dict[str, Any]]:
    return [
        {SUBJECT: f"case {case}", m.MODEL: model, STRUCTURE: key, SIDE: side}
        | {metric.column: 0.1 * n for metric in m.METRICS}
        | {m.VOLUME_PREDICTION_MM3: 1000.0 * n, m.VOLUME_REFERENCE_MM3: 500.0 * n}
        for model in models
        for case in range(cases)
        for n, (key, side) in enumerate(((k, s) for k in PAIR for s in ("right", "left")), start=1)
    ]


def test_volumes_of_both_sides_are_summed_in_each_case():
    (model,) = figure_data(scores_of("a"))
    predicted, reference = model.volumes["sartorius"]
    assert predicted.tolist() == [7.0, 7.0] and reference.tolist() == [3.5, 3.5]
    assert sorted(model.volumes) == sorted(PAIR)


def test_a_structure_without_volume_and_an_empty_cell_are_left_out():
    scores = scores_of("a")
    for row in scores:
        if row[STRUCTURE] == "gracilis":
            row[m.VOLUME_PREDICTION_MM3] = row[m.VOLUME_REFERENCE_MM3] = 0.0
            if row[SIDE] == "left":
                row[m.ASSD.column] = math.nan
    (model,) = figure_data(scores)
    assert list(model.volumes) == ["sartorius"]
    assert model.of(m.ASSD, "gracilis").tolist() == [0.1, 0.1]
    assert model.of(m.DICE, "gracilis").tolist() == [0.1, 0.2, 0.1, 0.2]
    assert not len(model.of(m.DICE, "psoas_major"))


@pytest.mark.parametrize(
    ("models", "expected"), [(("a",), ["bland_altman"]), (("b", "a"), ["bland_altman_1", "bland_altman_2"])]
)
def test_each_model_has_its_bland_altman_plot_and_all_share_the_rest(models, expected):
    tasks = figure_tasks(figure_data(scores_of(*models)))
    shared = ["boxplot_dice", "boxplot_assd_mm", "boxplot_hd95_mm", "volume_correlation"]
    assert [task.name for task in tasks] == expected + shared
    assert [model.name for model in tasks[-1].models] == list(models)


def test_a_second_process_draws_the_same_pictures(tmp_path):
    folders = {}
    for beside in (False, True):
        process = SecondProcess(beside=beside)
        try:
            draw_into(tmp_path / str(beside), scores_of("a", "b"), BUILT_IN, process)
            process.finish()
            assert (process._process is not None and process._process.returncode == 0) == beside
        finally:
            process.close()
        found = sorted((tmp_path / str(beside) / FIGURES_FOLDER).glob("*.png"))
        folders[beside] = {path.name: np.asarray(Image.open(path)) for path in found}
    assert len(folders[True]) == 6 and folders[True].keys() == folders[False].keys()
    for name, pixels in folders[True].items():
        np.testing.assert_array_equal(pixels, folders[False][name], name)


def test_ticks_are_where_matplotlib_draws_them(monkeypatch):
    """Also where an axis ends with a factor or a sum, which is left to matplotlib."""
    rng = np.random.default_rng(0)
    volumes = {}
    for number, structure in enumerate(BUILT_IN.rows):
        reference = [rng.uniform(1.0, 900.0, 5), 4e6 + rng.uniform(0.0, 9.0, 5), 1e-6 * rng.uniform(1.0, 9.0, 5)]
        values = reference[0 if number < 26 else number - 26]
        volumes[structure.key] = values * rng.uniform(0.9, 1.1, len(values)), values
    scores = {metric.column: {s.key: rng.random(9) for s in BUILT_IN.rows} for metric in figures.BOXED}
    tasks = figure_tasks((figures.ModelFigures("a", scores, volumes),))[:2]
    assert [task.name for task in tasks] == ["bland_altman", "boxplot_dice"]
    ours = [pixels_of(task) for task in tasks]

    def numbers(axes, fontsize):
        axes.tick_params(labelsize=fontsize)

    def names(axis, places, texts, fontsize):
        axis.axes.set_yticks(places, texts)
        return axis.get_ticklabels()

    monkeypatch.setattr(figures, "_plain_ticks", numbers)
    monkeypatch.setattr(figures, "_draw_ticks", names)
    for task, pixels in zip(tasks, ours, strict=True):
        np.testing.assert_array_equal(pixels, pixels_of(task), task.name)


def pixels_of(task: FigureTask) -> np.ndarray:
    canvas = FigureCanvasAgg(task.draw(task.models))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_drawing_loads_no_pandas(tmp_path):
    task = figure_tasks(figure_data(scores_of("a", cases=1)))[1]
    (tmp_path / "task").write_bytes(pickle.dumps(task))
    program = (
        "import pathlib, pickle, sys\n"
        "from vastus.evaluation.figures import write_figure\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "write_figure(pickle.loads((folder / 'task').read_bytes()), folder)\n"
        "print('pandas' in sys.modules)\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert made.stdout.strip() == "False"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxplot_dice.png", "boxplot_dice.svg", "task"]


@pytest.mark.parametrize("channels", [3, 4])
def test_a_png_holds_the_pixels_and_their_size(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels)).astype(np.uint8)
    write_png(tmp_path / "a.png", pixels, 150)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()  # checks the sums of all chunks
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.02)


def test_the_files_of_a_figure_are_named_after_it(tmp_path):
    task = figure_tasks(figure_data(scores_of("a")))[-1]
    assert write_figure(task, tmp_path) == [tmp_path / "volume_correlation.png", tmp_path / "volume_correlation.svg"]
