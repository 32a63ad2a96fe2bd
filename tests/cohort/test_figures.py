import itertools

import numpy as np
import pytest
from scipy import stats

from vastus.anatomy import MUSCLE_GROUPS
from vastus.cohort import figures
from vastus.cohort.selection import FlowStep


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_heatmap_shows_every_r(results):
    figure = figures.muscle_heatmap(results.status_correlations)
    table = results.status_correlations.set_index(["stratum", "feature"])
    shown = texts(figure)
    assert figures.signed(table.loc[("Men", "sartorius"), "r"]) + "***" in shown
    assert shown.count("–") == 8  # four muscles that the scan cuts off, two sexes
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (27, 2)
    assert image[0, 1] == pytest.approx(table.loc[("Men", "sartorius"), "r"])


def test_titles_of_groups_stay_apart(results):
    figure = figures.muscle_heatmap(results.status_correlations)
    figure.canvas.draw()
    titles = [t for t in figure.axes[0].texts if t.get_rotation() == 270]
    assert [" ".join(t.get_text().split()) for t in titles] == [group.title for group in MUSCLE_GROUPS]
    boxes = [t.get_window_extent() for t in titles]
    assert all(lower.y1 < upper.y0 for upper, lower in itertools.pairwise(boxes))


def test_heatmap_labels_counts(results):
    labels = [t.get_text() for t in figures.group_heatmap(results.status_correlations).axes[0].get_xticklabels()]
    assert labels == ["Women\n20 with, 23 without", "Men\n21 with, 5 without"]


def test_flow_diagram_tells_every_removal(results):
    steps = [FlowStep("Usable scan", 80, 8, 72), FlowStep("Amputation", 72, 3, 69, "", True), FlowStep("X", 69, 0, 69)]
    shown = " ".join(texts(figures.flow_diagram(steps, results.counts)))
    for words in ("n = 80", "Left out: n = 8", "Not met: Usable scan", "Left out: n = 3\nAmputation", "n = 69"):
        assert words in shown
    assert "X" not in shown


def test_same_figure_same_bytes(results, tmp_path):
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths = figures.save_figure(figures.group_heatmap(results.status_correlations), tmp_path / name / "f")
        written.append([p.read_bytes() for p in paths])
    assert [p.suffix for p in paths] == [".svg", ".pdf", ".png"]
    assert written[0] == written[1]


def test_roc_and_change_draw_their_data(results):
    prediction = results.prediction
    roc = figures.roc_figure(prediction.curves, prediction.table)
    line = roc.axes[0].lines[1]
    first = prediction.curves[0]
    np.testing.assert_allclose(line.get_xdata(), first.false_positive_rate)
    rated = prediction.table.set_index(["stratum", "label"]).loc[(first.stratum, first.label)]
    assert line.get_label() == f"{first.label} {first.auc:.2f} ({rated.auc_low:.2f}–{rated.auc_high:.2f})"
    (task,) = figures.tasks_of_changes(results.change_summary, results.dataset.table)
    change = task.draw(*task.data)
    assert len(change.axes[0].get_yticks()) == 23
    _, _, (bars,) = change.axes[0].containers[0]
    summary = results.change_summary
    first = summary[(summary["stratum"] == "All") & (summary["side"] == "fractured")].set_index("feature").iloc[0]
    reach = stats.t.ppf(0.975, first["n"] - 1) * first["sd_percent"] / first["n"] ** 0.5
    ends = [first["change_percent"] - reach, first["change_percent"] + reach]
    assert any(np.allclose(segment[:, 0], ends) for segment in bars.get_segments())


def test_signs_and_stars():
    assert figures.signed(-0.004) == "0.00"
    assert figures.signed(-0.716) == "−0.72"
    assert [figures.stars(p) for p in (0.0001, 0.005, 0.02, 0.05, float("nan"))] == ["***", "**", "*", "", ""]
