"""Takes an invented structure through the house, in a process of its own; run by ``synthesis/test_new_structure.py``.

``vastus.anatomy`` is loaded from its own text with one more row in the table: what a contributor writes there, and
nothing else.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

KEY, NAME, CLASS_ID, RIGHT, LEFT = "gemellus_superior", "Gemellus superior", 30, 130, 230
ROW = f"""    Structure(
        {CLASS_ID},
        "{KEY}",
        "{NAME}",
        "Musculus gemellus superior",
        "GSUP",
        Group.GLUTEAL,
        Region.HIP,
        (90, 200, 170),
        %s
        height_mm=395,
        depth=Depth.BACK,
        lie=Lie.LATERAL,
        lowest_level=ThighLevel.PROXIMAL,
        other_names=("upper gemellus",),
    ),
"""


def load_table(decision: str) -> None:
    """Put ``vastus.anatomy`` with one more row in the place of the true one."""
    import vastus

    assert "vastus.anatomy" not in sys.modules, "somebody has read the true table already"
    path = Path(vastus.__file__).with_name("anatomy.py")
    source = path.read_text(encoding="utf-8")
    table = re.search(r"^STRUCTURES: .*?^\)\n", source, re.DOTALL | re.MULTILINE)
    assert table is not None
    end = table.end() - len(")\n")
    module = ModuleType("vastus.anatomy")
    module.__file__ = str(path)
    sys.modules["vastus.anatomy"] = vastus.anatomy = module  # type: ignore[attr-defined]
    exec(compile(source[:end] + ROW % decision + source[end:], str(path), "exec"), module.__dict__)


def synthesise(folder: Path, atlas_path: Path) -> None:
    """From an atlas of the table without it: its mesh was there, as a muscle that carries no class."""
    from vastus.synthesis.atlas import load_atlas
    from vastus.synthesis.phantom import make_phantom
    from vastus.synthesis.render import Pool
    from vastus.synthesis.store import fill_pool, load_body

    atlas = load_atlas(atlas_path)
    assert sorted(p.side.value for p in atlas.select(CLASS_ID)) == ["left", "right"]
    fill_pool(folder / "pool", [atlas], 1, first_seed=20)
    body = folder / "pool" / "body_000020"
    assert [KEY, KEY] in json.loads((body / "body.json").read_text())["parts"]
    assert CLASS_ID in load_body(body).points[:, 0]
    pool, seen = Pool(folder / "pool"), []
    for index in range(200):
        hu, labels = pool.patch(1, index, (24, 24, 24), (3.0, 3.0, 3.0))
        seen.extend(hu[labels == CLASS_ID])
        if len(seen) > 50:
            break
    assert len(seen) > 50 and sum(seen) / len(seen) > -40, "it is not painted as a muscle"
    values = set(make_phantom((6.0, 6.0, 6.0)).labels.array.ravel())
    assert {RIGHT, LEFT} <= values


def train(folder: Path) -> None:
    """From names in ``dataset.json`` to the class ids of a training window."""
    import numpy as np

    from vastus.anatomy import LABELS, Side
    from vastus.io.nnunet_layout import write_description
    from vastus.synthesis.dataset import write_image
    from vastus.synthesis.phantom import make_phantom
    from vastus.training.config import ANATOMY_CLASSES, TrainConfig
    from vastus.training.dataset import read_dataset
    from vastus.training.folder import prepare_case

    assert ANATOMY_CLASSES[CLASS_ID] == KEY
    scan = make_phantom((6.0, 6.0, 6.0))
    for name in ("imagesTr", "labelsTr"):
        (folder / "data" / name).mkdir(parents=True)
    write_image(scan.ct, folder / "data" / "imagesTr" / "one_0000.nii.gz")
    write_image(scan.labels, folder / "data" / "labelsTr" / "one.nii.gz")
    values = {label.name: label.value for label in LABELS if label.side is not Side.UNKNOWN}
    write_description(folder / "data", values, 1)
    dataset = read_dataset(folder / "data")
    assert dataset.lookup(ANATOMY_CLASSES)[[RIGHT, LEFT]].tolist() == [CLASS_ID, CLASS_ID]
    cached = prepare_case(dataset.cases[0], dataset, TrainConfig(steps=1), folder / "cache")
    assert CLASS_ID in np.load(cached / "labels.npy")


def infer_measure_report(folder: Path) -> None:
    """A bundle that knows it: the label map with its name, the tables and the page."""
    import numpy as np

    from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor
    from vastus.io.csv_tables import read_volume_rows
    from vastus.io.labels import read_labels
    from vastus.io.nifti import read_nifti_image
    from vastus.label_arrays import classes_of
    from vastus.pipeline import ScanRequest, segment_to_folder
    from vastus.synthesis.dataset import write_image
    from vastus.synthesis.phantom import make_phantom
    from without_tails import without_tails

    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=(200.0, 520.0), noise_hu=0)
    truth = without_tails(phantom.labels)
    classes = classes_of(truth.array)
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    write_image(phantom.ct.with_array(np.asfortranarray(hu)), folder / "scan.nii.gz")
    bundle = write_toy_bundle(folder / "bundle")
    assert bundle.info.classes[CLASS_ID] == KEY
    out = folder / "out"
    segment_to_folder(Predictor(bundle, RuntimeOptions(threads=1)), ScanRequest(folder / "scan.nii.gz", out))
    labels = out / "labels.nii.gz"
    assert (read_labels(labels).array == truth.array).all()
    assert read_nifti_image(labels).names[RIGHT] == f"{KEY}_right"
    true_mm3 = (truth.array == RIGHT).sum() * truth.voxel_volume_mm3
    rows = {(row.structure, row.side.value): row.volume_mm3 for row in read_volume_rows(out / "volumes.csv")}
    assert abs(rows[KEY, "right"] - true_mm3) < 1
    assert KEY in (out / "measures.csv").read_text()
    page = (out / "report.html").read_text()
    assert NAME in page and "28 muscles" in page and "<small>of 30</small>" in page


def write_dicom_objects(folder: Path) -> None:
    """A segmentation whose segment has its name and its code."""
    import pydicom

    from labelled_dicom import content_of, label_values, write_ct_folder
    from vastus.dicom.formats import SEG, SR
    from vastus.dicom.outputs import write_dicom

    (folder / "ct").mkdir()
    write_ct_folder(folder / "ct")
    values = label_values()
    values[values == 201] = LEFT
    segmentation = write_dicom(content_of(folder / "ct", values), (SEG, SR), folder / "objects")[0]
    segments = {s.TrackingID: s for s in pydicom.dcmread(segmentation).SegmentSequence}
    segment = segments[f"{KEY}_left"]
    assert segment.SegmentLabel == f"{NAME} left"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == NAME


def annotate() -> None:
    """What the viewer is given, and how other programs' names are read."""
    from vastus.anatomy import BY_VALUE
    from vastus.annotation.structures import display_name, structure_rows
    from vastus.io.label_names import value_of

    row = next(row for row in structure_rows() if row["value"] == LEFT)
    assert (row["name"], row["abbreviation"], row["group_title"]) == (NAME, "GSUP", "Gluteal region")
    assert display_name(BY_VALUE[RIGHT]) == f"{NAME}, right"
    assert value_of("Left upper gemellus") == LEFT


def main() -> None:
    folder, atlas_path, decision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if decision == "undecided":
        load_table("")
        write_dicom_objects(folder)
        return
    load_table("snomed=Coding.PRIVATE,")
    synthesise(folder, atlas_path)
    train(folder)
    infer_measure_report(folder)
    write_dicom_objects(folder)
    annotate()
    print("walked")


if __name__ == "__main__":
    main()
