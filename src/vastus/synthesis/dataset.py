"""Synthetic scans on disk: nnU-Net layout, with who the people are and their true volumes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vastus.anatomy import BY_VALUE, LABELS, SIDES, STRUCTURES, Side
from vastus.io.atomic import atomic_path, ensure_folder, write_text
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.nnunet_layout import IMAGES, image_name, labels_name, write_description
from vastus.io.nnunet_layout import LABELS as LABEL_MAPS
from vastus.io.tables import VOLUMES_FILE
from vastus.synthesis.atlas import Atlas
from vastus.synthesis.clinical import ClinicalMeasures, Person, clinical_measures
from vastus.synthesis.scan import ScanSpec, make_scan, sample_spec
from vastus.synthesis.subject import Body, Variety, build_body, sample_plan
from vastus.volume import Volume

CLINICAL_FILE = "clinical.csv"


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What a data set holds.

    Attributes:
        count: scans.
        seed: of the first; scan i has ``seed + i``.
        variety: people after the clinical model, or wider.
        spec: one protocol for all; None draws one for each.
    """

    count: int
    seed: int = 0
    variety: Variety = Variety.CLINICAL
    spec: ScanSpec | None = None


def subject_name(seed: int) -> str:
    """Name of the scan of a seed."""
    return f"synth_{seed:05d}"


def write_dataset(
    folder: Path, atlases: Sequence[Atlas], options: DatasetOptions, on_scan: Callable[[str], None] | None = None
) -> None:
    """Write imagesTr, labelsTr, dataset.json, clinical.csv and the true volumes of the whole bodies.

    ``volumes.csv`` holds what the whole body has, whatever the scan shows of it.
    """
    images, labels = ensure_folder(folder / IMAGES), ensure_folder(folder / LABEL_MAPS)
    people: list[tuple[str, Person, ClinicalMeasures]] = []
    rows: list[VolumeRow] = []
    for seed in range(options.seed, options.seed + options.count):
        name = subject_name(seed)
        plan = sample_plan(seed, atlases, options.variety)
        body = build_body(plan, atlases[plan.atlas_index])
        spec = options.spec or sample_spec(np.random.default_rng([seed, 12]))
        scan = make_scan(body, spec, seed)
        write_image(scan.ct, images / image_name(name))
        write_image(scan.labels, labels / labels_name(name))
        people.append((name, plan.person, clinical_measures(plan.person, np.random.default_rng([seed, 13]))))
        rows.extend(_true_rows(name, body))
        if on_scan:
            on_scan(name)
    _describe(folder, options.count)
    write_text(folder / CLINICAL_FILE, _clinical_csv(people))
    write_volume_rows(rows, folder / VOLUMES_FILE)


def write_image(volume: Volume, path: Path) -> None:
    """NIfTI without names, as nnU-Net expects it."""
    import nibabel as nib

    image = nib.Nifti1Image(volume.array, volume.affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _describe(folder: Path, count: int) -> None:
    values = {label.name: label.value for label in LABELS if label.side is not Side.UNKNOWN}
    notes = {
        "description": "Synthetic CT of hip and thigh; label values are those of `vastus classes`.",
        "licence": "made from meshes under CC BY 4.0; see NOTICE",
    }
    write_description(folder, values, count, notes=notes)


def _clinical_csv(people: list[tuple[str, Person, ClinicalMeasures]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [
            "subject",
            "sex",
            "age",
            "height_cm",
            "weight_kg",
            "smi_kg_m2",
            "grip_kg",
            "gait_m_s",
            "chair_stand_s",
            "fracture_side",
        ]
    )
    for name, person, measures in people:
        side = "" if person.fracture_side is Side.UNKNOWN else person.fracture_side.value
        writer.writerow(
            [
                name,
                person.sex.word,
                round(person.age_years),
                round(person.height_cm, 1),
                round(person.weight_kg, 1),
                round(measures.smi_kg_m2, 2),
                round(measures.grip_kg, 1),
                round(measures.gait_m_s, 2),
                round(measures.chair_stand_s, 1),
                side,
            ]
        )
    return stream.getvalue()


def _true_rows(name: str, body: Body) -> list[VolumeRow]:
    known = {(BY_VALUE[v].structure.key, BY_VALUE[v].side): mm3 for v, mm3 in body.volumes_mm3.items()}
    return [
        VolumeRow(name, s.key, s.group, side, known.get((s.key, side)), None, False)
        for side in SIDES
        for s in STRUCTURES
    ]
