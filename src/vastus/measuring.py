"""One scan measured into its folder: the three tables, and what a page and a record say of them.

``segment``, ``batch``, the node and ``measure`` all go through ``measure_to_folder``, so that one request gives the
same tables whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.inference.confidence import Confidence
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.tables import LEVELS_FILE, MEASURES_FILE, VOLUMES_FILE
from vastus.morphometry import (
    MeasureSettings,
    ScanMeasures,
    confidence_rows,
    fragment_warnings,
    measure_rows,
    measure_scan,
    not_measured,
    too_large,
    write_level_rows,
    write_measure_rows,
)
from vastus.morphometry.rows import MeasureRow
from vastus.quality import Agreement, agreement_rows
from vastus.sarcopenia.clinical import ClinicalFacts
from vastus.sarcopenia.reference_values import reference_rows, reference_sentences
from vastus.sarcopenia.scan_indices import index_rows
from vastus.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class MeasureRequest:
    """What to measure, how, and where to.

    Attributes:
        ct: in HU, shape (X, Y, Z), any orientation.
        labels: label values on the grid of ``ct``.
        table: of the structures.
        subject: name in the tables.
        folder: must exist; gets ``volumes.csv``, ``measures.csv`` and ``levels.csv``, older ones are replaced.
        settings: HU thresholds, percentiles and levels.
        confidence: how sure the network was, where one made the labels: then it stands among the measures.
        agreement: what agreement is expected of each label value (``vastus.quality``): it stands among them too.
        facts: what is known of the person: published values of that sex, age and size stand among the measures then.
        indices: volumes divided by size, height and femur length stand among the measures too; needs ``facts``.
    """

    ct: Volume
    labels: Volume
    subject: str
    folder: Path
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    confidence: Confidence | None = None
    agreement: Mapping[int, Agreement] | None = None
    facts: ClinicalFacts | None = None
    indices: bool = False
    table: StructureTable = BUILT_IN


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredScan:
    """What was measured and written.

    Attributes:
        found: the measures themselves.
        volumes: the rows of ``volumes.csv``.
        rows: the rows of ``measures.csv``.
        warnings: structures larger than a person's may be, fragments, and what the table of structures does not allow.
        context: what published values say of this person's, with source and limits.
    """

    found: ScanMeasures
    volumes: tuple[VolumeRow, ...]
    rows: tuple[MeasureRow, ...]
    warnings: tuple[str, ...]
    context: tuple[str, ...]


def measure_to_folder(request: MeasureRequest) -> MeasuredScan:
    """Measure one labelled scan and write its three tables.

    Raises:
        GeometryError: CT and labels are not on one grid.
        OutputError: a table can't be written.
    """
    found = measure_scan(request.ct, request.labels, request.subject, request.settings, request.table)
    volumes, rows = tuple(found.volume_rows()), tuple(_rows(found, request))
    write_volume_rows(volumes, request.folder / VOLUMES_FILE)
    write_measure_rows(rows, request.folder / MEASURES_FILE)
    write_level_rows(found.subject, found.areas, request.folder / LEVELS_FILE)
    warnings = (*too_large(found.structures), *fragment_warnings(found.structures), *not_measured(request.table))
    facts = request.facts
    context = () if facts is None else reference_sentences(found.thigh_muscle_to_femur(), facts, found.table)
    return MeasuredScan(found, volumes, rows, warnings, context)


def _rows(found: ScanMeasures, request: MeasureRequest) -> list[MeasureRow]:
    rows = measure_rows(found, request.settings)
    # The network judged on its own grid; a sliver that is gone on the scan's is no structure to speak of.
    if request.confidence is not None:
        sure = request.confidence.limited_to(found.present)
        rows += confidence_rows(found.subject, sure.labels, sure.scan, found.table)
    if request.agreement is not None and found.table.is_built_in:
        there = {value: one for value, one in request.agreement.items() if value in found.present}
        rows += agreement_rows(found.subject, there)
    if request.facts is not None:
        rows += index_rows(found, request.facts) if request.indices else []
        rows += reference_rows(found, request.facts)
    return rows
