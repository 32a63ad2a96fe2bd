"""The self-contained HTML page of one scan: pictures under the label colours, the table, the run record.

No request leaves the page: images are inlined, styles are inlined, there is no script. The page is written for people
who judge the labels by eye, on a screen, on a phone or on paper.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.anatomy import BY_ID, Group, structures_of
from vastus.io.atomic import write_text
from vastus.io.csv_tables import VolumeRow
from vastus.io.tables import EXPECTED_AGREEMENT, EXPECTED_HIGH, EXPECTED_LOW, LIKELY_WRONG, PROBABILITY_WRONG
from vastus.preprocessing import PreprocessingSettings
from vastus.report.lines import Block, Line, set_out
from vastus.report.pictures import SOFT_TISSUE_HU, Picture, encode_grey, encode_overlay, narrower, take_picture
from vastus.report.planes import Plane, View, axial_planes, coronal_planes, make_scene, sagittal_planes
from vastus.volume import Volume

if TYPE_CHECKING:
    from vastus.morphometry.rows import MeasureRow
    from vastus.report.measure_lines import MuscleLine, Pair

_AXIAL_PX = 440
_UPRIGHT_PX = 620
_GROUP_TITLES = {
    Group.ANTERIOR: "Anterior thigh",
    Group.MEDIAL: "Medial thigh",
    Group.POSTERIOR: "Posterior thigh",
    Group.GLUTEAL: "Gluteal region",
    Group.OTHER: "Trunk and hip flexors",
    Group.BONE: "Bones",
}


@dataclass(frozen=True, slots=True)
class PageRecord:
    """What the page says about the run besides the volumes.

    Attributes:
        subject: name of the subject as given by the user.
        weights: name and version of the weights bundle.
        trained_on: in plain words, what the weights were trained on.
        device: what ran the network.
        spacing_mm: voxel size of the input.
        seconds: wall time of each stage.
        versions: program and library versions.
        warnings: shown on top of the page.
        alarms: structures that are likely wrong; in red, before everything else.
        context: what published values say of this person's, with source and limits; below the measures.
    """

    subject: str
    weights: str
    trained_on: str
    device: str
    spacing_mm: tuple[float, float, float]
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Figure:
    """A picture made ready for the template."""

    key: str
    view: str
    title: str
    detail: str
    width: int
    height: int
    marks: tuple[str, str]
    ct: str
    overlay: str
    description: str


@dataclass(frozen=True, slots=True)
class _Bar:
    """One line of the chart; widths as a share of the longest bar."""

    line: Line
    right: float
    left: float


@dataclass(frozen=True, slots=True)
class _Found:
    """How many structures are there on each side, how many are cut off, and how many are fragments (not there)."""

    right: int
    left: int
    cut: int
    fragments: int


def write_page(
    path: Path,
    ct: Volume,
    labels: Volume,
    rows: Iterable[VolumeRow],
    record: PageRecord,
    measures: Iterable[MeasureRow] | None = None,
) -> None:
    """Write the page of one scan, atomically.

    Args:
        path: of the ``.html`` file.
        ct: in HU, any orientation.
        labels: label values on the grid of ``ct``.
        rows: the volume rows of this scan.
        record: about the run.
        measures: rows of ``measures.csv`` of this scan; a choice of them is listed below the volumes.

    Raises:
        GeometryError: CT and labels are not on one grid.
        OutputError: the file can't be written.
    """
    write_text(path, render_page(ct, labels, rows, record, measures))


def render_page(
    ct: Volume,
    labels: Volume,
    rows: Iterable[VolumeRow],
    record: PageRecord,
    measures: Iterable[MeasureRow] | None = None,
) -> str:
    """The page as a string; see ``write_page``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    scene = make_scene(ct, labels)
    axial = [_figure(take_picture(scene, p, longest_px=_AXIAL_PX)) for p in axial_planes(scene)]
    upright = [
        _figure(take_picture(scene, p, longest_px=_UPRIGHT_PX))
        for p in (*coronal_planes(scene), *sagittal_planes(scene))
    ]
    blocks = set_out(rows)
    measures = None if measures is None else list(measures)
    leg_lines, muscle_lines = _set_out(measures) if measures else ((), ())
    lines = [line for block in blocks for line in block.lines]
    environment = Environment(
        loader=PackageLoader("vastus.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"rgb": _rgb, "decimal": _decimal, "signed": _signed, "sentence": _sentence}
    return environment.get_template("page.html").render(
        record=record,
        axial=axial,
        upright=upright,
        levels_by_femur=bool(axial and "%" in axial[0].title),
        window_hu=SOFT_TISSUE_HU,
        muscle_window=narrower(PreprocessingSettings().hu_window),
        blocks=blocks,
        bars=_bars(blocks),
        found=_found(lines),
        unsided=[line for line in lines if line.unknown.volume_cm3 is not None],
        legend=[(group, list(structures_of(group))) for group in Group],
        titles=_GROUP_TITLES,
        agreement=_agreement(measures or ()),
        leg_lines=leg_lines,
        muscle_lines=muscle_lines,
    )


def _set_out(measures: Iterable[MeasureRow]) -> tuple[tuple[Pair, ...], tuple[MuscleLine, ...]]:
    # Measuring is compiled code that takes a second to load; a page without measures does without it.
    from vastus.report.measure_lines import set_out_measures

    return set_out_measures(measures)


@dataclass(frozen=True, slots=True)
class _Agreement:
    """Expected agreement of one structure and side, with its interval, and the chance that it is wrong."""

    expected: float
    low: float
    high: float
    wrong: float

    @property
    def is_likely_wrong(self) -> bool:
        return self.wrong >= LIKELY_WRONG


def _agreement(measures: Iterable[MeasureRow]) -> dict[tuple[str, str], _Agreement]:
    """By structure and side; empty where no row says any."""
    names = (EXPECTED_AGREEMENT, EXPECTED_LOW, EXPECTED_HIGH, PROBABILITY_WRONG)
    cells: dict[tuple[str, str], dict[str, float]] = {}
    for row in measures:
        if row.measure in names and row.value is not None:
            cells.setdefault((row.structure, row.side), {})[row.measure] = row.value
    return {at: _Agreement(*(values[name] for name in names)) for at, values in cells.items() if len(values) == 4}


def _rgb(colour: tuple[int, int, int]) -> str:
    return "rgb({}, {}, {})".format(*colour)


def _decimal(value: float, digits: int) -> str:
    """A number with a true minus sign and never "-0.0"."""
    return f"{value:z.{digits}f}".replace("-", "−")


def _signed(value: float) -> str:
    """One decimal with its sign; zero has none."""
    text = f"{value:+z.1f}".replace("-", "−")
    return "0.0" if text == "+0.0" else text


def _sentence(text: str) -> str:
    return text if text.rstrip().endswith((".", "!", "?")) else f"{text.rstrip()}."


def _found(lines: Sequence[Line]) -> _Found:
    sides = [(line.right, line.left, line.unknown) for line in lines]
    return _Found(
        right=sum(right.volume_cm3 is not None and not right.fragment for right, _, _ in sides),
        left=sum(left.volume_cm3 is not None and not left.fragment for _, left, _ in sides),
        cut=sum(cell.truncated for cells in sides for cell in cells),
        fragments=sum(cell.fragment for cells in sides for cell in cells),
    )


def _figure(picture: Picture) -> _Figure:
    plane = picture.plane
    height, width = picture.grey.shape
    return _Figure(
        key=f"{plane.view.name.lower()}-{plane.index}",
        view=plane.view.name.lower(),
        title=plane.title,
        detail=plane.detail,
        width=width,
        height=height,
        marks=picture.marks,
        ct=_data_uri("image/jpeg", encode_grey(picture)),
        overlay=_data_uri("image/png", encode_overlay(picture)),
        description=_description(plane, picture),
    )


def _description(plane: Plane, picture: Picture) -> str:
    """What a reader who can't see the picture is told: where it is and which structures it cuts."""
    import numpy as np

    present = [BY_ID[int(c)].english.lower() for c in np.flatnonzero(np.bincount(picture.classes.ravel())) if c]
    what = "; labelled here: " + ", ".join(present) if present else "; nothing labelled here"
    where = ", ".join(part for part in (plane.title, plane.detail) if part)
    edge = "the front is on the left" if plane.view is View.SAGITTAL else "the patient's right is on the left"
    return f"{plane.view.name.capitalize()} CT slice, {where}, {edge}{what}."


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _bars(blocks: Sequence[Block]) -> list[tuple[Group, list[_Bar]]]:
    """Chart lines of the muscles; bones are left out, they are not compared by volume."""
    muscles = [block for block in blocks if block.group is not Group.BONE]
    volumes = [cell.volume_cm3 or 0.0 for block in muscles for line in block.lines for cell in (line.right, line.left)]
    longest = max(volumes, default=0.0) or 1.0
    return [
        (
            block.group,
            [
                _Bar(line, (line.right.volume_cm3 or 0.0) / longest, (line.left.volume_cm3 or 0.0) / longest)
                for line in block.lines
            ],
        )
        for block in muscles
    ]
