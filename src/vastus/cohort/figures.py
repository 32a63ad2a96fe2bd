"""The figures of a cohort's report, each saved as SVG, PDF and PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.cohort.follow_up import BOTH, FRACTURED, OTHER
from vastus.cohort.prediction import RocCurve
from vastus.cohort.selection import FlowStep
from vastus.cohort.volumes_table import feature_label, features_of, group_column
from vastus.io.atomic import atomic_path
from vastus.io.png import write_png

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

SUFFIXES = (".svg", ".pdf", ".png")
PNG_DPI = 300
_MARGIN_INCHES = 0.04
_MM = 1 / 25.4
# Ends a line within a series of points.
_BREAK = (math.nan, math.nan)
_BARS: dict[str, Any] = {"ms": 3, "lw": 0, "elinewidth": 0.8}
"""A point with its interval."""
_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "svg.hashsalt": "vastus",
}
_REACH = "reach_percent"
_SEX_NAMES = {"F": "Women", "M": "Men"}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True, slots=True, eq=False)
class FigureTask:
    """A figure to be drawn, here or in another process.

    Attributes:
        name: of the figure on the page.
        stem: of its files.
        draw: function of this module.
        data: its arguments.
    """

    name: str
    stem: str
    draw: Callable[..., Figure]
    data: tuple[Any, ...]


def tasks_of_relations(
    flow: Sequence[FlowStep], status: pd.DataFrame, correlations: pd.DataFrame, table: StructureTable
) -> tuple[FigureTask, ...]:
    """Return the figures that need only the selection and the correlations with sarcopenia."""
    return (
        FigureTask("flow", "flow", flow_diagram, (tuple(flow), status)),
        FigureTask("muscles", "heatmap_muscles", muscle_heatmap, (correlations, table)),
        FigureTask("groups", "heatmap_groups", group_heatmap, (correlations, table)),
        FigureTask("intervals", "correlation_intervals", interval_figure, (correlations, table)),
    )


def tasks_of_predictions(curves: Sequence[RocCurve], table: pd.DataFrame) -> tuple[FigureTask, ...]:
    """Return the figure of the ROC curves; none where there is no curve."""
    return (FigureTask("roc", "roc", roc_figure, (tuple(curves), table)),) if curves else ()


def tasks_of_changes(summary: pd.DataFrame, table: StructureTable) -> tuple[FigureTask, ...]:
    """Return the figure of the changes between scans; none where nobody has two."""
    if not len(summary):
        return ()
    from scipy import stats

    # One person has no interval: the point stands alone. Computed here: who draws need not load SciPy.
    times = stats.t.ppf(0.975, (summary["n"] - 1).clip(lower=1))
    limits = times * summary["sd_percent"] / summary["n"] ** 0.5
    return (FigureTask("change", "change", change_figure, (summary.assign(**{_REACH: limits}), table)),)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG, PDF and PNG beside each other, without dates inside so that runs compare equal."""
    import matplotlib as mpl

    with mpl.rc_context(_style()):
        # Measured once: left to savefig, each of the three formats would draw everything twice.
        _without_measuring(figure)
        box = figure.get_tightbbox().padded(_MARGIN_INCHES)
        paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
        for path in paths:
            with atomic_path(path) as temporary:
                if path.suffix == ".png":
                    _save_png(figure, temporary, box)
                else:
                    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix]
                    figure.savefig(temporary, dpi=PNG_DPI, metadata=metadata, bbox_inches=box)
    return paths


def _save_png(figure: Figure, path: Path, box: Bbox) -> None:
    import numpy as np

    pixels = BytesIO()
    figure.savefig(pixels, format="raw", dpi=PNG_DPI, bbox_inches=box)
    canvas: Any = figure.canvas
    columns = int(canvas.renderer.width)
    write_png(path, np.frombuffer(pixels.getbuffer(), np.uint8).reshape(-1, columns, 4), PNG_DPI)


def _without_measuring(figure: Figure) -> None:
    """Fix the places of titles and labels that are empty: each draw would measure all tick labels to find them."""
    for axes in figure.axes:
        if not axes.get_title():
            axes.set_title("", y=1.0)
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.0, 0.0)


def muscle_heatmap(correlations: pd.DataFrame, table: StructureTable = BUILT_IN) -> Figure:
    """Draw sex x muscle: r of sarcopenia with volume / height^2 (Fig. 7 of the paper)."""
    muscles = sorted(table.muscles, key=lambda m: table.groups.index(m.group))
    breaks = [i for i in range(1, len(muscles)) if muscles[i].group != muscles[i - 1].group]
    figure = _heatmap(correlations, [m.key for m in muscles], breaks, table)
    axes = figure.axes[0]
    for group in table.muscle_groups:
        rows = [i for i, m in enumerate(muscles) if m.group == group]
        centre = (rows[0] + rows[-1]) / 2
        # A word a line: a group of three muscles has no room for two words in one.
        title = group.title.replace(" ", "\n", 1)
        axes.text(1.62, centre, title, rotation=270, va="center", ha="left", ma="center", fontsize=7.5, color="#555555")
    return figure


def group_heatmap(correlations: pd.DataFrame, table: StructureTable = BUILT_IN) -> Figure:
    """Draw sex x muscle group (Fig. 8 of the paper)."""
    return _heatmap(correlations, [group_column(g) for g in table.muscle_groups], [], table)


def flow_diagram(steps: Sequence[FlowStep], status: pd.DataFrame) -> Figure:
    """Draw boxes from everybody to those analysed; people who left stand at the side.

    Args:
        steps: of the selection; those that removed nobody are gathered in the box below them.
        status: rows (sex, sarcopenia, n) of those analysed.
    """
    import matplotlib as mpl

    removing = [s for s in steps if s.removed]
    with mpl.rc_context(_style()):
        height = 17 * (len(removing) + 2) * _MM
        figure, ((axes,),) = _panels((150 * _MM, height))
        axes.set(xlim=(0, 150), ylim=(-17 * (len(removing) + 2), 0))
        axes.axis("off")
        arrow = {"arrowstyle": "-|>", "lw": 0.8, "color": "#444444", "shrinkA": 0, "shrinkB": 0}
        _box(axes, (38, -7), f"People in the clinical table\nn = {steps[0].before if steps else 0}")
        for row, step in enumerate(removing, start=1):
            top, y = -7 - 17 * (row - 1), -7 - 17 * row
            axes.annotate("", (38, y + 5.2), (38, top - 5.2), arrowprops=arrow)
            axes.annotate("", (80, (top + y) / 2), (38, (top + y) / 2), arrowprops=arrow)
            note = f"\n({step.note})" if step.note else ""
            reason = step.name if step.excludes else f"Not met: {step.name}"
            axes.text(
                81, (top + y) / 2, f"Left out: n = {step.removed}\n{reason}{note}", va="center", ha="left", fontsize=7.5
            )
            _box(axes, (38, y), f"{'Analysed' if row == len(removing) else 'Remaining'}\nn = {step.after}")
        last = -7 - 17 * len(removing)
        y = last - 17
        axes.annotate("", (38, y + 5.6), (38, last - 5.2), arrowprops=arrow)
        lines = [
            f"{_SEX_NAMES[sex]}: {int(part.loc[part.sarcopenia == 1, 'n'].sum())} with, "
            f"{int(part.loc[part.sarcopenia == 0, 'n'].sum())} without sarcopenia"
            for sex, part in status.groupby("sex")
        ]
        _box(axes, (38, y), "\n".join(lines) or "nobody", width=74)
    return figure


def roc_figure(curves: Sequence[RocCurve], table: pd.DataFrame) -> Figure:
    """Draw ROC curves of the best predictors, a panel for each stratum; ``table`` (prediction) holds the intervals."""
    import matplotlib as mpl

    names = list(dict.fromkeys(c.stratum for c in curves))
    with mpl.rc_context(_style()):
        size = (58 * max(len(names), 1) * _MM, 62 * _MM)
        figure, panels = _panels(size, max(len(names), 1))
        for axes, name in zip(panels[0], names, strict=False):
            axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.6, ls="--")
            shades = mpl.colormaps["viridis"]
            own = [c for c in curves if c.stratum == name]
            for position, curve in enumerate(own):
                axes.plot(
                    curve.false_positive_rate,
                    curve.true_positive_rate,
                    lw=1.2,
                    color=shades(0.9 * position / max(len(own), 1)),
                    label=f"{curve.label} {curve.auc:.2f}{_interval(curve, table)}",
                )
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", title=name, aspect="equal")
            axes.set_xticks([0, 0.5, 1])
            axes.legend(loc="lower right", fontsize=6, handlelength=1.2, title="AUC (95 % interval)", title_fontsize=6)
        panels[0][0].set_ylabel("Sensitivity")
        figure.tight_layout()
    return figure


def change_figure(summary: pd.DataFrame, table: StructureTable = BUILT_IN) -> Figure:
    """Draw the mean change in per cent of each muscle, fractured and other side, with 95 % interval (Student's t).

    Args:
        summary: of ``follow_up.change_summary``, with half the width of the interval (see ``tasks_of_changes``).
        table: of the structures.
    """
    import matplotlib as mpl
    import numpy as np

    part = summary[(summary["stratum"] == "All") & (summary["kind"] == "muscle")]
    sides = [s for s in (FRACTURED, OTHER, BOTH) if (part["side"] == s).any()]
    sides = [s for s in sides if s != BOTH] or sides
    order = [m.key for m in table.muscles if (part["feature"] == m.key).any()]
    markers = {
        FRACTURED: ("#c0392b", "o", "Fractured side"),
        OTHER: ("#555555", "s", "Other side"),
        BOTH: ("#2f6f9f", "o", "Both sides"),
    }
    with mpl.rc_context(_style()):
        figure, ((axes,),) = _panels((120 * _MM, (12 + 4.2 * len(order)) * _MM))
        for offset, side in zip(np.linspace(-0.16, 0.16, len(sides)) if len(sides) > 1 else [0.0], sides, strict=True):
            rows = part[part["side"] == side].set_index("feature").reindex(order)
            colour, marker, label = markers[side]
            heights = np.arange(len(order)) + offset
            axes.errorbar(
                rows["change_percent"], heights, xerr=rows[_REACH], fmt=marker, color=colour, label=label, **_BARS
            )
        axes.axvline(0, color="#999999", lw=0.6)
        axes.set_yticks(range(len(order)), [feature_label(k, table) for k in order])
        axes.invert_yaxis()
        axes.set_xlabel("Change to the last scan (%), mean and 95 % interval")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(sides), fontsize=7)
    return figure


def interval_figure(correlations: pd.DataFrame, table: StructureTable = BUILT_IN) -> Figure:
    """Draw r of sarcopenia with volume / height^2 of each muscle and group with 95 % interval, women and men."""
    import matplotlib as mpl
    import numpy as np

    features = list(features_of(table))
    found = correlations.set_index(["stratum", "feature"])
    looks = {"Women": ("#b3470f", "o", -0.16), "Men": ("#1f5f8b", "s", 0.16)}
    with mpl.rc_context(_style()):
        figure, ((axes,),) = _panels((120 * _MM, (14 + 4.4 * len(features)) * _MM))
        for name, (colour, marker, offset) in looks.items():
            rows = found.loc[name].reindex(features)
            r = rows["r"].to_numpy(dtype=float)
            reach = np.array([r - rows["ci_low"].to_numpy(dtype=float), rows["ci_high"].to_numpy(dtype=float) - r])
            heights, label = np.arange(len(features)) + offset, f"{name}: {_counts(correlations, name)}"
            axes.errorbar(r, heights, xerr=reach, fmt=marker, color=colour, label=label, **_BARS)
        axes.axvline(0, color="#999999", lw=0.6)
        axes.axhline(len(table.muscles) - 0.5, color="#222222", lw=0.6)
        axes.set_yticks(range(len(features)), [feature_label(f, table) for f in features])
        axes.set(xlim=(-1, 1), ylim=(len(features) - 0.5, -0.5))
        axes.set_xlabel("r of sarcopenia with volume / height², and its 95 % interval")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=7)
    return figure


def signed(value: float) -> str:
    """Write a number with two digits, a sign and a true minus; no sign if it rounds to zero."""
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def stars(p: float) -> str:
    """Return the stars of a p: ``*`` p < 0.05, ``**`` p < 0.01, ``***`` p < 0.001."""
    return next((text for limit, text in _STARS if p < limit), "")


def _heatmap(correlations: pd.DataFrame, features: list[str], breaks: list[int], table: StructureTable) -> Figure:
    import matplotlib as mpl
    import numpy as np

    strata = ["Women", "Men"]
    found = correlations.set_index(["stratum", "feature"])[["r", "p", "p_holm"]].to_dict("index")
    r = np.array([[found[s, f]["r"] for s in strata] for f in features], dtype=float)
    with mpl.rc_context(_style()):
        figure, ((axes,),) = _panels((92 * _MM, (16 + 5.4 * len(features)) * _MM))
        colours = mpl.colormaps["RdBu_r"]
        axes.set_facecolor("#eeeeee")  # seen where there is no r
        image = axes.imshow(np.ma.masked_invalid(r), cmap=colours, vmin=-1, vmax=1, aspect="auto")
        for row, feature in enumerate(features):
            for column, name in enumerate(strata):
                cell = found[name, feature]
                value = r[row, column]
                text = "–" if np.isnan(value) else signed(value) + stars(float(cell["p"]))
                strong = not np.isnan(value) and abs(value) > 0.6
                weight = "bold" if not np.isnan(value) and cell["p_holm"] < 0.05 else "normal"
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=7,
                    weight=weight,
                    color="white" if strong else "#222222",
                )
        counts = [_counts(correlations, s) for s in strata]
        axes.set_xticks([0, 1], [f"{s}\n{n}" for s, n in zip(strata, counts, strict=True)])
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(features)), [feature_label(f, table) for f in features])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        between: Any = [
            line for row in range(1, len(features)) for line in ((-0.5, row - 0.5), (1.5, row - 0.5), _BREAK)
        ]
        between += [(0.5, -0.5), (0.5, len(features) - 0.5)]
        axes.plot(*np.transpose(between), color="white", lw=0.8, zorder=1.5)
        for line in breaks:
            axes.axhline(line - 0.5, color="#222222", lw=0.9)
        bar = figure.colorbar(
            image,
            ax=axes,
            orientation="horizontal",
            fraction=0.9 / (len(features) + 3),
            aspect=32,
            pad=0.7 / (len(features) + 2),
        )
        bar.set_label(
            "r of sarcopenia with volume / height²\n* p < 0.05, ** p < 0.01, *** p < 0.001; bold: p < 0.05 after Holm",
            fontsize=7,
        )
        bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["−1", "−0.5", "0", "0.5", "1"])
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, width=0.6)
    return figure


def _panels(size_inches: tuple[float, float], count: int = 1) -> tuple[Figure, Any]:
    """Make a figure with a row of panels that share their y axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it takes time to load, and keeps each figure until it is told to close it.
    figure = Figure(figsize=size_inches)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False, sharey=True)


@cache
def _style() -> dict[Any, Any]:
    """Return the settings of all figures. A font that is not there would be looked for again for every text."""
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return {**_STYLE, "font.sans-serif": [name for name in _FONTS if name in here] or ["DejaVu Sans"]}


def _interval(curve: RocCurve, table: pd.DataFrame) -> str:
    own = table[(table["stratum"] == curve.stratum) & (table["label"] == curve.label)].dropna(subset=["auc_low"])
    return f" ({own['auc_low'].iloc[0]:.2f}–{own['auc_high'].iloc[0]:.2f})" if len(own) else ""


def _counts(correlations: pd.DataFrame, name: str) -> str:
    part = correlations[correlations["stratum"] == name]
    return f"{part['n_with'].max()} with, {part['n_without'].max()} without"


def _box(axes: Axes, centre: tuple[float, float], text: str, width: float = 60) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = centre
    patch = FancyBboxPatch(
        (x - width / 2, y - 5),
        width,
        10,
        boxstyle="round,pad=0.1,rounding_size=1.2",
        fc="#f4f6f8",
        ec="#444444",
        lw=0.7,
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=8)
