"""The self-contained HTML page of one scan: pictures under the label colours, the table, the run record.

No request leaves the page: images, styles and the one script are inlined, and the page's own policy lets no other
script run. The page is written for people who judge the labels by eye, on a screen, on a phone or on paper. Where
scripts are off the pictures and tables are there; only scrolling through all slices, sorting and copying need them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, Group, Kind, Structure, StructureTable
from vastus.display_windows import CHOICES_ON_THE_PAGE, SOFT_TISSUE
from vastus.io.atomic import write_text
from vastus.io.csv_tables import VolumeRow
from vastus.io.stops import Stops
from vastus.report.lines import Block, Line, midline_lines, set_out
from vastus.report.palette import has_safe_colours, safe_colour, safe_colour_table
from vastus.report.pictures import (
    GreyStretch,
    Picture,
    colour_table,
    encode_grey,
    encode_overlay,
    narrower,
    take_picture,
)
from vastus.report.places import Place, name_of, places_of
from vastus.report.planes import Plane, View, axial_planes, coronal_planes, make_scene, sagittal_planes
from vastus.report.slices import SliceLayer, load_loops, take_slices
from vastus.report.tables import (
    CUT,
    FRAGMENT,
    LIKELY,
    Expected,
    PageTable,
    agreement_columns,
    decimal,
    expected_agreement,
    leg_table,
    muscle_table,
    unsided_table,
    volume_columns,
    volume_table,
)
from vastus.volume import Volume

if TYPE_CHECKING:
    from vastus.morphometry.rows import MeasureRow

_AXIAL_PX = 440
_UPRIGHT_PX = 620


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
        alarms: structures that are likely wrong; in red, before the warnings.
        missing: structure and side of what should be in the scan and was not found.
        network_hu: darkest and brightest HU that the network tells apart, from its bundle; None where no network ran.
        context: what published values say of this person's, with source and limits; below the measures.
        table: of the structures.
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
    missing: frozenset[tuple[str, str]] = frozenset()
    context: tuple[str, ...] = ()
    network_hu: tuple[float, float] | None = None
    table: StructureTable = BUILT_IN


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
    safe_overlay: str
    description: str


@dataclass(frozen=True, slots=True, eq=False)
class PagePictures:
    """What the page shows of a scan: chosen planes, all slices, and these as the text that the page carries."""

    axial: tuple[_Figure, ...]
    upright: tuple[_Figure, ...]
    layer: SliceLayer
    layer_labels: str
    layer_ct: str
    layer_doubt: str


@dataclass(frozen=True, slots=True)
class _Window:
    """A grey window that a reader can choose besides the first one."""

    key: str
    title: str
    stretch: GreyStretch


@dataclass(frozen=True, slots=True)
class _Warning:
    """A warning, and the structures that it speaks of as far as they are in the pictures."""

    text: str
    places: tuple[Place, ...]


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


_WINDOWS = tuple(_Window(key, window.title, narrower(window.hu)) for key, window in CHOICES_ON_THE_PAGE.items())


def write_page(  # noqa: PLR0913
    path: Path,
    ct: Volume,
    labels: Volume,
    rows: Iterable[VolumeRow],
    record: PageRecord,
    measures: Iterable[MeasureRow] | None = None,
    *,
    pictures: PagePictures | None = None,
) -> None:
    """Write the page of one scan, atomically.

    Args:
        path: of the ``.html`` file.
        ct: in HU, any orientation.
        labels: label values on the grid of ``ct``.
        rows: the volume rows of this scan.
        record: about the run.
        measures: rows of ``measures.csv`` of this scan; a choice of them is listed below the volumes.
        pictures: of ``draw_pictures`` for this scan, where they are drawn already.

    Raises:
        GeometryError: CT and labels are not on one grid.
        OutputError: the file can't be written.
    """
    write_text(path, fill_page(pictures or draw_pictures(ct, labels, record.table), rows, record, measures))


def render_page(
    ct: Volume,
    labels: Volume,
    rows: Iterable[VolumeRow],
    record: PageRecord,
    measures: Iterable[MeasureRow] | None = None,
) -> str:
    """The page as a string; see ``write_page``."""
    return fill_page(draw_pictures(ct, labels, record.table), rows, record, measures)


def draw_pictures(
    ct: Volume, labels: Volume, table: StructureTable = BUILT_IN, doubt: Volume | None = None
) -> PagePictures:
    """Draw all that the page shows of a scan; it needs no measures, so that it can be done beside measuring.

    Args:
        ct: in HU, any orientation.
        labels: label values on the grid of ``ct``.
        table: of the structures.
        doubt: 0 sure, 1 doubtful, 2 guessed, on a grid of its own (``vastus.inference.doubt``).

    Raises:
        GeometryError: CT and labels are not on one grid.
    """
    scene = make_scene(ct, labels, table)
    axial = [_figure(take_picture(scene, p, longest_px=_AXIAL_PX), table) for p in axial_planes(scene)]
    upright = [
        _figure(take_picture(scene, p, longest_px=_UPRIGHT_PX), table)
        for p in (*coronal_planes(scene), *sagittal_planes(scene))
    ]
    layer = take_slices(scene, doubt=doubt)
    return PagePictures(
        tuple(axial),
        tuple(upright),
        layer,
        base64.b64encode(layer.labels).decode("ascii"),
        _lines_of(layer.ct),
        base64.b64encode(layer.doubt.levels).decode("ascii") if layer.doubt else "",
    )


@cache
def load_templates() -> Any:
    """Load the templates of the page; once, because they are compiled to Python then."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vastus.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"sentence": _sentence}
    return environment.get_template("page.html")


def load_ahead() -> None:
    """Load what a page needs (templates, the compiled loops), while something else is waited for."""
    load_templates()
    load_loops()


def fill_page(
    pictures: PagePictures,
    rows: Iterable[VolumeRow],
    record: PageRecord,
    measures: Iterable[MeasureRow] | None = None,
) -> str:
    """The page as a string, from its pictures and its numbers; see ``write_page``."""
    axial, upright, layer = pictures.axial, pictures.upright, pictures.layer
    table = record.table
    rows = tuple(rows)
    measures = tuple(measures) if measures else ()
    blocks, midline = set_out(rows, table), midline_lines(rows, table)
    legs, muscles = _set_out(measures, table) if measures else (None, None)
    lines = [line for block in blocks for line in block.lines]
    unsided = [line for line in lines if line.unknown.volume_cm3 is not None]
    script = _template_text("slices.js")
    return str(
        load_templates().render(
            record=record,
            alarms=[_Warning(text, places_of(text, layer.counts, table)) for text in record.alarms],
            warnings=[
                _Warning(text, places_of(text, layer.counts, table))
                for text in record.warnings
                if text not in record.alarms
            ],
            axial=axial,
            upright=upright,
            levels_by_femur=bool(axial and "%" in axial[0].title),
            window_hu=SOFT_TISSUE.hu,
            windows=_WINDOWS,
            volumes=volume_table(
                blocks,
                lambda block: block.group.title,
                (*volume_columns(record.missing), *agreement_columns(measures)),
            ),
            bars=_bars(blocks),
            found=_found(lines),
            unsided=unsided_table(unsided) if unsided else None,
            midline=unsided_table(midline, "midline", "Structures of the midline") if midline else None,
            muscle_count=len(table.muscles),
            structure_count=len(lines),
            own_structures=not table.is_built_in,
            stops=Stops.of_texts(record.alarms, record.warnings),
            safe_for_all=has_safe_colours(table),
            legend=[(group, list(table.structures_of(group))) for group in table.groups],
            legs=legs,
            muscles=muscles,
            group_colours=_style({s: s.colour for s in table.rows}),
            safe_colours=_style({s: safe_colour(s) for s in table.rows}),
            layer=layer,
            about=_as_data(_about(layer, rows, table, expected_agreement(measures))),
            layer_labels=pictures.layer_labels,
            layer_ct=pictures.layer_ct,
            layer_doubt=pictures.layer_doubt,
            script=_unescaped(script),
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}",
        )
    )


def _set_out(measures: Iterable[MeasureRow], table: StructureTable) -> tuple[PageTable | None, PageTable | None]:
    # Measuring is compiled code that takes a second to load; a page without measures does without it.
    from vastus.report.measure_lines import set_out_measures

    legs, muscles = set_out_measures(measures, table)
    return leg_table(legs) if legs else None, muscle_table(muscles) if muscles else None


def _about(
    layer: SliceLayer, rows: Iterable[VolumeRow], table: StructureTable, expected: Mapping[tuple[str, str], Expected]
) -> dict[str, Any]:
    """What the script has to know besides the voxels: geometry, and of each label value its name, colours and size."""
    measured = {table.by_key[row.structure].label_value(row.side): row for row in rows if row.volume_mm3 is not None}
    present = layer.counts.sum(axis=0)
    return {
        "shape": layer.shape,
        "spacing": [round(s, 4) for s in layer.spacing_mm],
        "origin": [round(c, 2) for c in layer.origin_mm],
        "femur": layer.femur,
        "window": SOFT_TISSUE.hu,
        "doubt": None
        if layer.doubt is None
        else {"shape": layer.doubt.shape, "places": [[round(v, 6) for v in place] for place in layer.doubt.places]},
        "values": {
            value: {
                "name": name_of(value, table),
                "class": label.structure.class_id,
                "colour": label.structure.colour,
                "safe": safe_colour(label.structure),
                "said": _said(measured.get(value), expected.get((label.structure.key, label.side.value))),
            }
            for value, label in table.by_value.items()
            if present[value]
        },
    }


def _said(row: VolumeRow | None, expected: Expected | None) -> str:
    if row is None or row.volume_mm3 is None:
        return ""
    parts = [f"{decimal(row.volume_mm3 / 1000.0)} cm³"]
    if row.mean_hu is not None:
        parts.append(f"mean {decimal(row.mean_hu)} HU")
    parts += [text for holds, text in ((row.truncated, CUT), (row.fragment, FRAGMENT)) if holds]
    if expected is not None:
        parts.append(f"expected agreement {expected.text}")
        parts += [LIKELY] * expected.is_likely_wrong
    return ", ".join(parts)


def _as_data(value: Any) -> Any:
    # A "<" could end the script element; as an escape it is the same to JSON.
    return _unescaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _unescaped(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _lines_of(images: Iterable[bytes]) -> Any:
    return _unescaped("\n".join(base64.b64encode(image).decode("ascii") for image in images))


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _style(colours: Mapping[Structure, tuple[int, int, int]]) -> str:
    """The colour of each structure as a CSS variable."""
    return " ".join(f"--s{s.class_id}: rgb({red}, {green}, {blue});" for s, (red, green, blue) in colours.items())


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


def _figure(picture: Picture, table: StructureTable) -> _Figure:
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
        overlay=_data_uri("image/png", encode_overlay(picture, colour_table(table))),
        safe_overlay=_data_uri("image/png", encode_overlay(picture, safe_colour_table(table))),
        description=_description(plane, picture, table),
    )


def _description(plane: Plane, picture: Picture, table: StructureTable) -> str:
    """What a reader who can't see the picture is told: where it is and which structures it cuts."""
    import numpy as np

    present = [table.by_id[int(c)].english.lower() for c in np.flatnonzero(np.bincount(picture.classes.ravel())) if c]
    what = "; labelled here: " + ", ".join(present) if present else "; nothing labelled here"
    where = ", ".join(part for part in (plane.title, plane.detail) if part)
    edge = "the front is on the left" if plane.view is View.SAGITTAL else "the patient's right is on the left"
    return f"{plane.view.name.capitalize()} CT slice, {where}, {edge}{what}."


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _bars(blocks: Sequence[Block]) -> list[tuple[Group, list[_Bar]]]:
    """Chart lines of the muscles; bones are left out, they are not compared by volume."""
    muscles = [(b.group, [line for line in b.lines if line.structure.kind is not Kind.BONE]) for b in blocks]
    volumes = [cell.volume_cm3 or 0.0 for _, lines in muscles for line in lines for cell in (line.right, line.left)]
    longest = max(volumes, default=0.0) or 1.0
    return [
        (
            group,
            [
                _Bar(line, (line.right.volume_cm3 or 0.0) / longest, (line.left.volume_cm3 or 0.0) / longest)
                for line in lines
            ],
        )
        for group, lines in muscles
        if lines
    ]
