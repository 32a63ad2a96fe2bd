"""Figures of an evaluation: box plots per structure, Bland-Altman per structure, volumes against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, GROUPS, Group, StructureTable
from vastus.evaluation.agreement import bland_altman, pearson
from vastus.evaluation.figure_data import BOXED, CaseVolumes, ModelFigures
from vastus.evaluation.metrics import Better, Metric
from vastus.io.atomic import atomic_path
from vastus.io.png import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SUFFIXES = (".png", ".svg")
_DPI = 150
# Okabe & Ito: told apart by readers with any colour vision.
_MODEL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_GROUP_COLOURS = {
    Group.ANTERIOR: "#D55E00",
    Group.MEDIAL: "#0072B2",
    Group.POSTERIOR: "#009E73",
    Group.GLUTEAL: "#CC79A7",
    Group.OTHER: "#E69F00",
    Group.BONE: "#555555",
}
_MARKERS = dict(zip(GROUPS, "osD^vP", strict=True))
# For groups of a table of one's own.
_OTHER_LOOKS = (("X", "#56B4E9"), ("*", "#8C564B"), ("h", "#7F7F7F"), ("<", "#17BECF"), (">", "#BCBD22"))
# On a logarithmic axis: more would touch each other.
_LABELLED_DIGITS = "25"
# A few far-off values (a missed structure) would squeeze all boxes into a line: then the axis is logarithmic.
_LOG_RATIO = 25.0
_POINTS_UP_TO = 12
_GRID_COLUMNS = 5
_LEGEND_COLUMNS = 3
_EDGE_INCHES = 0.1
# Ends a line within a series of points.
_BREAK = (math.nan, math.nan)
_TICK_INCHES = 0.1


class Draw(Protocol):
    """Draws a figure of models or readers."""

    def __call__(self, models: Sequence[ModelFigures], /) -> Figure:
        """Draw the figure."""


@dataclass(frozen=True, slots=True)
class FigureTask:
    """A figure to be drawn: by whichever process, in whichever order.

    Attributes:
        name: of the files, without suffix.
        draw: draws it.
        models: what it shows.
    """

    name: str
    draw: Draw
    models: tuple[ModelFigures, ...]


def figure_tasks(models: tuple[ModelFigures, ...], table: StructureTable = BUILT_IN) -> list[FigureTask]:
    """List every figure; the one that takes longest comes first, so that others can be drawn beside it.

    Args:
        models: models or readers, in order.
        table: of the structures.
    """
    tasks = []
    for number, model in enumerate(models, start=1):
        ending = f"_{number}" if len(models) > 1 else ""
        tasks.append(FigureTask(f"bland_altman{ending}", partial(_bland_altman_of_first, table=table), (model,)))
    for metric in BOXED:
        draw = partial(box_plot, metric=metric, table=table)
        tasks.append(FigureTask(f"boxplot_{metric.column}", draw, models))
    tasks.append(FigureTask("volume_correlation", partial(correlation_plot, table=table), models))
    return tasks


def write_figure(task: FigureTask, folder: Path) -> list[Path]:
    """Draw a figure and write it as PNG and SVG into a folder that exists; return the files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure = task.draw(task.models)
    png, svg = (folder / f"{task.name}{suffix}" for suffix in SUFFIXES)
    # Once for each format: ``savefig`` would draw it twice, to find a layout that is given here.
    of_png: Any = FigureCanvasAgg(figure)
    of_png.draw()
    with atomic_path(png) as temporary:
        write_png(temporary, np.asarray(of_png.buffer_rgba()), _DPI)
    of_svg: Any = FigureCanvasSVG(figure)
    with atomic_path(svg) as temporary:
        of_svg.print_svg(temporary)
    return [png, svg]


def box_plot(models: Sequence[ModelFigures], metric: Metric, table: StructureTable = BUILT_IN) -> Figure:
    """Draw the scores of every structure (both sides, all cases), models side by side: Fig. 5 of Kim et al. 2024."""
    figure = _figure(9.0, 10.5)
    axes = figure.add_subplot()
    _without_measuring(axes)
    height = 0.8 / len(models)
    of_models = [[model.of(metric, s.key) for s in table.rows] for model in models]
    everything = np.concatenate([values for of_model in of_models for values in of_model])
    for number, (model, values) in enumerate(zip(models, of_models, strict=True)):
        places: NDArray[np.float64] = (
            np.arange(len(table.rows), dtype=np.float64) + (number - (len(models) - 1) / 2) * height
        )
        _boxes(axes, values, places, height, _MODEL_COLOURS[number % len(_MODEL_COLOURS)])
        axes.plot([], [], "s", color=_MODEL_COLOURS[number % len(_MODEL_COLOURS)], markersize=9, label=model.name)
    names = _structure_axis(axes, table)
    axes.set_xlabel(f"{metric.title}, {metric.better.value} is better")
    if _needs_log(everything, metric):
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlim(0, 1.6 * float(everything.max()))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(f"{axes.get_xlabel()}; linear to 1 mm, then logarithmic")
    elif metric.better is Better.HIGHER:
        axes.set_xlim(min(0.5, float(everything.min(initial=1.0)) - 0.03), 1.005)
    else:
        axes.set_xlim(left=0)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    figure.legend(loc="upper right", bbox_to_anchor=(0.99, 1.0), ncols=len(models), frameon=False)
    left = _widest_inches(names) + _TICK_INCHES + _EDGE_INCHES
    _place(figure, left=left, right=0.2, bottom=0.55, top=0.45)
    return figure


def _needs_log(values: NDArray[np.float64], metric: Metric) -> bool:
    positive = values[values > 0]
    return metric.better is Better.LOWER and len(positive) > 0 and positive.max() > _LOG_RATIO * np.median(positive)


def _boxes(
    axes: Axes, values: list[NDArray[np.float64]], places: NDArray[np.float64], height: float, colour: str
) -> None:
    few = max((len(v) for v in values), default=0) <= _POINTS_UP_TO
    filled = [(v, float(place)) for v, place in zip(values, places, strict=True) if len(v)]
    if not filled:
        return
    outside = _draw_boxes(axes, filled, height * 0.82, colour)
    shown = filled if few else outside
    along = np.concatenate([v for v, _ in shown])
    across = np.concatenate([np.full(len(v), place) for v, place in shown])
    axes.plot(along, across, ".", color=colour, markersize=4)


def _draw_boxes(
    axes: Axes, filled: list[tuple[NDArray[np.float64], float]], width: float, colour: str
) -> list[tuple[NDArray[np.float64], float]]:
    """Draw horizontal boxes as ``Axes.boxplot`` does, all of one colour at once: it makes six artists for each.

    Returns:
        The values beyond the whiskers, with their places.
    """
    from matplotlib.cbook import boxplot_stats
    from matplotlib.collections import PolyCollection

    boxes, lines, medians, outside = [], [], [], []
    for values, place in filled:
        (of,) = boxplot_stats(values)
        low, high, cap = place - width / 2, place + width / 2, width / 4
        boxes.append([(of["q1"], low), (of["q1"], high), (of["q3"], high), (of["q3"], low)])
        for box_end, end in ((of["q1"], of["whislo"]), (of["q3"], of["whishi"])):
            lines += [(box_end, place), (end, place), _BREAK, (end, place - cap), (end, place + cap), _BREAK]
        medians += [(of["med"], low), (of["med"], high), _BREAK]
        outside.append((of["fliers"], place))
    axes.add_collection(PolyCollection(boxes, facecolor=colour, edgecolor=colour, alpha=0.45, linewidth=1.0, zorder=2))
    axes.plot(*np.transpose(lines), color=colour, linewidth=1.0)
    axes.plot(*np.transpose(medians), color="black", linewidth=1.3, solid_capstyle="butt", zorder=2.1)
    return outside


def _structure_axis(axes: Axes, table: StructureTable) -> list[Text]:
    """Set out the structures from top to bottom; return their names as drawn."""
    from matplotlib import rcParams

    rows = table.rows
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # A line between groups; the built-in ids are sorted by group.
    for row in range(1, len(rows)):
        if rows[row].group != rows[row - 1].group:
            axes.axhline(row - 0.5, color="#999999", linewidth=0.8)
    places = np.arange(len(rows), dtype=np.float64)
    return _draw_ticks(axes.yaxis, places, [s.english for s in rows], rcParams["ytick.labelsize"])


def _looks(table: StructureTable) -> dict[Group, tuple[str, str]]:
    """Marker and colour of each group; groups beyond the built-in ones take what is left, in turn."""
    others = [group for group in table.groups if group not in _MARKERS]
    looks = {group: (_MARKERS[group], _GROUP_COLOURS[group]) for group in table.groups if group in _MARKERS}
    return looks | {group: _OTHER_LOOKS[n % len(_OTHER_LOOKS)] for n, group in enumerate(others)}


def _bland_altman_of_first(models: Sequence[ModelFigures], table: StructureTable) -> Figure:
    return bland_altman_plot(models[0], table)


def bland_altman_plot(model: ModelFigures, table: StructureTable = BUILT_IN) -> Figure:
    """Draw predicted minus reference volume over their mean, bias and 95% limits, in cm3; a panel for each structure.

    Volumes of both sides are summed within a case, as in the table of agreement; structures in no case are left out.
    """
    volumes = model.volumes
    keys, looks = [s.key for s in table.rows if s.key in volumes], _looks(table)
    rows = max(1, math.ceil(len(keys) / _GRID_COLUMNS))
    figure = _figure(13.0, 1.9 * rows + 0.9)
    grid = figure.add_gridspec(rows, _GRID_COLUMNS, wspace=0.3, hspace=0.42)
    _place(figure, left=0.85, right=0.15, bottom=0.65, top=0.7)
    for number, key in enumerate(keys):
        axes = figure.add_subplot(grid[divmod(number, _GRID_COLUMNS)])
        _bland_altman_panel(axes, *volumes[key])
        axes.set_title(table.by_key[key].english, y=1.0, fontsize=9, color=looks[table.by_key[key].group][1])
    figure.supxlabel("Mean of prediction and reference (cm³)", fontsize=10, y=_EDGE_INCHES / figure.get_figheight())
    figure.supylabel("Prediction − reference (cm³)", fontsize=10, x=_EDGE_INCHES / figure.get_figwidth())
    title = f"{model.name}: bias (line) and 95% limits of agreement (dashed)"
    figure.suptitle(title, fontsize=11, y=1.0 - _EDGE_INCHES / figure.get_figheight())
    return figure


def _bland_altman_panel(axes: Axes, predicted: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
    result = bland_altman(predicted, reference)
    axes.axhline(0.0, color="#BBBBBB", linewidth=0.8)
    axes.plot(
        (predicted + reference) / 2, predicted - reference, "o", color=_MODEL_COLOURS[0], markersize=3.5, alpha=0.7
    )
    axes.axhline(result.bias.value, color="black", linewidth=1.0)
    reach = np.abs(predicted - reference).max(initial=0.0)
    for limit in (result.lower_limit.value, result.upper_limit.value):
        if math.isfinite(limit):
            axes.axhline(limit, color="black", linewidth=0.9, linestyle="--")
            reach = max(reach, abs(limit))
    axes.set_ylim(-1.25 * reach or -1.0, 1.25 * reach or 1.0)
    axes.margins(x=0.12)
    axes.locator_params(axis="both", nbins=4)
    _plain_ticks(axes, fontsize=8)


def correlation_plot(models: Sequence[ModelFigures], table: StructureTable = BUILT_IN) -> Figure:
    """Draw predicted over reference volume of every structure and case (sides summed), a panel a model, log axes."""
    looks = _looks(table)
    figure = _figure(6.0 * len(models), 6.6)
    ends = _shared_limits([model.volumes for model in models])
    _place(figure, left=0.85, right=0.2, bottom=1.15, top=0.45)
    grid = figure.add_gridspec(1, len(models), wspace=0.2)
    for number, model in enumerate(models):
        axes = figure.add_subplot(grid[0, number])
        _without_measuring(axes, label_inches=0.42)
        axes.plot(ends, ends, color="black", linewidth=0.9)
        empty = 0
        for key, (predicted, reference) in model.volumes.items():
            seen = (predicted > 0) & (reference > 0)
            empty += int((~seen).sum())
            marker, colour = looks[table.by_key[key].group]
            axes.plot(reference[seen], predicted[seen], marker, color=colour, markersize=5, alpha=0.65)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in _LABELLED_DIGITS else "")
        axes.set_xlabel("Reference volume (cm³)")
        axes.set_ylabel("Predicted volume (cm³)")
        axes.set_title(f"{model.name}{_median_r(model.volumes)}", fontsize=11, y=1.0)
        if empty:
            axes.text(
                0.97, 0.03, f"{empty} missed or invented, not shown", transform=axes.transAxes, ha="right", fontsize=8
            )
    handles = [axes.plot([], [], marker, color=colour, label=g.title)[0] for g, (marker, colour) in looks.items()]
    figure.legend(handles=handles, loc="lower center", ncols=_LEGEND_COLUMNS, frameon=False, fontsize=9)
    return figure


def _median_r(volumes: CaseVolumes) -> str:
    found = [r for r in (pearson(*pair).value for pair in volumes.values()) if math.isfinite(r)]
    return f" (median r of {len(found)} structures: {np.median(found):.3f})" if found else ""


def _shared_limits(of_models: list[CaseVolumes]) -> tuple[float, float]:
    pairs = [np.concatenate(pair) for volumes in of_models for pair in volumes.values()]
    values = np.concatenate([*pairs, np.empty(0)])
    values = values[values > 0]
    return (float(values.min()) / 1.4, float(values.max()) * 1.4) if len(values) else (0.1, 10.0)


def _figure(width_inches: float, height_inches: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: no display, no global state, safe in servers and threads. No layout engine: the places are known, and
    # one takes as long as drawing.
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI)
    FigureCanvasAgg(figure)  # what measures texts; it becomes the figure's own
    return figure


def _place(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> None:
    """Set the margins around all panels, in inches."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height)


def _without_measuring(axes: Axes, label_inches: float = 0.4) -> None:
    """Fix the places of title and labels: to find them, matplotlib measures every tick label each time it draws.

    Args:
        axes: panel.
        label_inches: from the axes to the labels.
    """
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    axes.set_title("", y=1.0)
    below = ScaledTranslation(0.0, -label_inches, figure.dpi_scale_trans)
    beside = ScaledTranslation(-label_inches, 0.0, figure.dpi_scale_trans)
    axes.xaxis.set_label_coords(0.5, 0.0, transform=axes.transAxes + below)
    axes.yaxis.set_label_coords(0.0, 0.5, transform=axes.transAxes + beside)


def _plain_ticks(axes: Axes, fontsize: float) -> None:
    """Draw the ticks of both linear axes as they are now (see ``_draw_ticks``).

    Args:
        axes: panel, whose limits are final; its axes have no labels.
        fontsize: of the numbers, in points.
    """
    for axis in (axes.xaxis, axes.yaxis):
        places = axis.get_majorticklocs()
        formatter: Any = axis.get_major_formatter()
        texts = formatter.format_ticks(places)
        if formatter.get_offset():  # a factor or a sum at the end of the axis: left to matplotlib
            axis.set_tick_params(labelsize=fontsize)
        else:
            seen = np.flatnonzero(_are_within(places, axis.get_view_interval()))
            _draw_ticks(axis, places[seen], [texts[n] for n in seen], fontsize)


def _draw_ticks(axis: Axis, places: NDArray[np.float64], texts: Sequence[str], fontsize: float | str) -> list[Text]:
    """Draw the ticks of an axis in its place, all marks as one line.

    matplotlib makes five artists for each tick, of which two are seen, and measures every label each time it draws.

    Args:
        axis: it is hidden.
        places: of the ticks, in its numbers.
        texts: at the ticks.
        fontsize: of the texts, in points.

    Returns:
        The texts that were made.
    """
    import matplotlib
    from matplotlib.lines import Line2D
    from matplotlib.markers import TICKDOWN, TICKLEFT

    axes: Any = axis.axes
    rc: Any = matplotlib.rcParams
    name = "xtick" if axis is axes.xaxis else "ytick"
    size, pad = rc[f"{name}.major.size"], rc[f"{name}.major.pad"]
    edge = np.zeros(len(places))
    if axis is axes.xaxis:
        where, beside = axes.get_xaxis_transform("tick1"), axes.get_xaxis_text1_transform(pad + size)
        x, y, marker = places, edge, TICKDOWN
    else:
        where, beside = axes.get_yaxis_transform("tick1"), axes.get_yaxis_text1_transform(pad + size)
        x, y, marker = edge, places, TICKLEFT
    style: dict[str, Any] = {"marker": marker, "markersize": size, "markeredgewidth": rc[f"{name}.major.width"]}
    style |= {"linestyle": "none", "color": rc[f"{name}.color"], "zorder": axis.get_zorder(), "clip_on": False}
    axes.add_artist(Line2D(x, y, transform=where, **style))
    transform, va, ha = beside
    style = {"transform": transform, "va": va, "ha": ha, "fontsize": fontsize, "zorder": axis.get_zorder()}
    axis.set_visible(False)
    return [axes.text(*at, text, **style) for *at, text in zip(x, y, texts, strict=True)]


def _widest_inches(texts: Iterable[Text]) -> float:
    """Return the width of the widest text in inches."""
    return max((text.get_window_extent().width for text in texts), default=0.0) / _DPI


def _are_within(places: NDArray[np.float64], ends: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which places lie between two ends, or so near beyond that matplotlib draws a tick there."""
    low, high = min(ends), max(ends)
    near = 1e-10 * (high - low)
    return (places >= low - near) & (places <= high + near)
