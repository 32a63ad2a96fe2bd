"""A small data set in nnU-Net layout, made of the phantom."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

from vastus.anatomy import LABELS, STRUCTURES, Side
from vastus.synthesis.phantom import make_phantom


def write_data_set(folder: Path, cases: int = 3, *, sided: bool = True, spacing_mm: float = 12.0) -> Path:
    """Phantoms of different noise; labels with sides (101.., 201..) or bare class ids."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    names = {"background": 0}
    if sided:
        names |= {label.name: label.value for label in LABELS if label.side is not Side.UNKNOWN}
    else:
        names |= {s.key: s.class_id for s in STRUCTURES}
    (folder / "dataset.json").write_text(json.dumps({"labels": names, "file_ending": ".nii.gz"}))
    for number in range(cases):
        scan = make_phantom((spacing_mm,) * 3, seed=number)
        labels = scan.labels.array if sided else (scan.labels.array % 100).astype(np.uint8)
        nibabel.save(
            nibabel.Nifti1Image(scan.ct.array, scan.ct.affine), folder / "imagesTr" / f"case{number}_0000.nii.gz"
        )
        nibabel.save(nibabel.Nifti1Image(labels, scan.ct.affine), folder / "labelsTr" / f"case{number}.nii.gz")
    return folder
