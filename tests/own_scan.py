"""A scan with structures of a lab's own: a merged thigh, femora, hip bones and a sacrum, painted as the toy network
knows them.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.anatomy import BY_KEY, Side
from vastus.io.structure_tables import read_structure_table
from vastus.io.tables import STRUCTURE_TABLE_FILE
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, to_ras

NAMES = ("thigh_muscles", "femur", "sacrum", "hip_bone")
TABLE = (
    "name,title,group,colour,paired,kind\n"
    "thigh_muscles,Thigh muscles,Merged,#37a0e6,,\n"
    "femur,,,,,\n"
    "sacrum,Sacrum,Bones,#d8c9a3,no,bone\n"
    "hip_bone,,,,,\n"
)
THIGH, FEMUR, SACRUM, HIP = 1, 2, 3, 4


def own_labels(z_range_mm: tuple[float, float] = (-20.0, 560.0)) -> tuple[Volume, Volume]:
    """CT in HU and label values of the table, of a phantom; the sacrum is a block behind, between the hip bones."""
    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=z_range_mm, noise_hu=0)
    labels = to_ras(phantom.labels)
    own = _joined(labels.array)
    middle, top = labels.shape[0] // 2, labels.shape[2]
    block = (slice(middle - 5, middle + 5), slice(labels.shape[1] // 3, labels.shape[1] // 3 + 8), slice(top - 22, top))
    own[block] = np.where(own[block] == 0, SACRUM, own[block])
    hu = np.where(own > 0, own % 100 * CLASS_STEP_HU, np.where(to_ras(phantom.ct).array > -900, -100.0, -1000.0))
    return labels.with_array(hu.astype(np.int16)), labels.with_array(own)


def _joined(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    own = np.zeros(values.shape, np.uint8)
    own[values > 0] = THIGH
    for key, class_id in (("femur", FEMUR), ("hip_bone", HIP)):
        own[np.isin(values, BY_KEY[key].label_values)] = class_id
    side = np.where(values > Side.LEFT.offset, Side.LEFT.offset, Side.RIGHT.offset)
    return np.where(own > 0, own + side, 0).astype(np.uint8)


def write_own_data_set(folder: Path, *, table: bool = True, cases: int = 1) -> Path:
    """In nnU-Net's layout, both sides of a structure with one value; ``table``: with the table file."""
    ct, labels = own_labels()
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    values = {"background": 0} | {name: number for number, name in enumerate(NAMES, start=1)}
    (folder / "dataset.json").write_text(json.dumps({"labels": values, "file_ending": ".nii.gz"}))
    if table:
        (folder / STRUCTURE_TABLE_FILE).write_text(TABLE)
    for case in range(cases):
        nibabel.save(nibabel.Nifti1Image(ct.array, ct.affine), folder / "imagesTr" / f"case{case}_0000.nii.gz")
        bare = (labels.array % 100).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(bare, labels.affine), folder / "labelsTr" / f"case{case}.nii.gz")
    return folder


def write_own_bundle(folder: Path) -> Path:
    """Weights that know the painted structures."""
    folder.mkdir()
    (folder / STRUCTURE_TABLE_FILE).write_text(TABLE)
    table = read_structure_table(folder / STRUCTURE_TABLE_FILE)
    write_toy_bundle(folder / "bundle", ("background", *NAMES), table=table)
    return folder / "bundle"


def write_own_series(folder: Path, z_range_mm: tuple[float, float] = (200.0, 560.0)) -> Path:
    """The same scan as a CT series of DICOM, as far as from the middle of the thigh to above the hip."""
    import dicom_factory as factory
    from labelled_dicom import FULL_HEADER

    ct, _ = own_labels(z_range_mm)
    hu = ct.array[::-1, ::-1].transpose(2, 1, 0)  # rows run to the back, columns to the patient's left
    step = PAINTED.spacing_mm[2]
    extra = FULL_HEADER | {"SliceThickness": step, "Modality": "CT"}
    spec = factory.series(len(hu), hu=hu, step=step, pixel_spacing=PAINTED.spacing_mm[:2], extra=extra)
    factory.write_series(folder, spec)
    return folder
