"""Structures of a lab's own where results leave the house or people come in: DICOM, node, cohort, pseudo-labels."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from own_scan import NAMES, TABLE, write_own_bundle, write_own_data_set, write_own_series
from vastus.anatomy import BUILT_IN
from vastus.cli.main import app
from vastus.errors import SettingsError
from vastus.io.own_structures import entries_of, own_table
from vastus.io.structure_tables import read_structure_table, write_structure_table
from vastus.terminology import structure_code
from vastus.training.dataset import read_dataset

runner = CliRunner()
SACRUM = "Sacrum (Kreuzbein des Rückens)"
TITLES = {SACRUM} | {f"{name} {side}" for name in ("Thigh muscles", "Femur", "Hip bone") for side in ("right", "left")}
SIDED = {f"{key}_{side}" for key in NAMES if key != "sacrum" for side in ("right", "left")} | {"sacrum"}


def ran(*arguments: str | Path) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def coded_bundle(folder: Path) -> Path:
    """Weights whose table has a code, and a title that ASCII can't hold."""
    bundle = write_own_bundle(folder)
    path = bundle.parent / "structure_table.csv"
    lines = TABLE.replace("kind\n", "kind,code\n")
    lines = lines.replace(
        "Sacrum,Bones,#d8c9a3,no,bone", "Sacrum (Kreuzbein des Rückens),Knochen,#d8c9a3,no,bone,SCT:54735007"
    )
    path.write_text(lines, encoding="utf-8")
    shutil.rmtree(bundle)
    from toy_bundle import write_toy_bundle

    write_toy_bundle(bundle, ("background", *NAMES), table=read_structure_table(path))
    return bundle


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_series(tmp_path_factory.mktemp("series") / "ct")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, series: Path) -> Path:
    folder = tmp_path_factory.mktemp("result")
    weights = coded_bundle(folder / "weights")
    formats = "dicom-seg,sr,rtstruct,pdf"
    ran("segment", series, "-o", folder / "out", "--weights", weights, "-f", formats, "--threads", "1")
    return folder / "out"


def errors_of(path: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", ["seg.dcm", "sr.dcm", "rtstruct.dcm", "report.dcm"])
def test_dicom_objects_of_them_are_valid(result: Path, name: str) -> None:
    assert errors_of(result / "dicom" / name) == []


def test_dicom_objects_belong_to_the_study(result: Path, series: Path) -> None:
    if shutil.which("dcentvfy") is None:
        pytest.skip("dcentvfy (dicom3tools) is not installed")
    files = [*map(str, series.iterdir()), *map(str, (result / "dicom").iterdir())]
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr


def test_segments_bear_names_colours_and_codes_of_the_table(result: Path) -> None:
    import highdicom

    seg = pydicom.dcmread(result / "dicom" / "seg.dcm")
    segments = {s.TrackingID: s for s in seg.SegmentSequence}
    assert set(segments) == SIDED and seg.ContentLabel == "STRUCTURES"
    sacrum, thigh = segments["sacrum"], segments["thigh_muscles_left"]
    kind = sacrum.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue, kind.CodeMeaning) == ("SCT", "54735007", SACRUM)
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind and sacrum.SegmentLabel == SACRUM
    own = thigh.SegmentedPropertyTypeCodeSequence[0]
    assert (own.CodingSchemeDesignator, own.CodeValue) == ("99VASTUS", "thigh_muscles")
    assert own.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    colour = highdicom.color.CIELabColor.from_dicom_value(thigh.RecommendedDisplayCIELabValue).to_rgb()
    assert np.abs(np.subtract(colour, (0x37, 0xA0, 0xE6))).max() <= 2
    rois = pydicom.dcmread(result / "dicom" / "rtstruct.dcm").StructureSetROISequence
    assert {roi.ROIName for roi in rois} == TITLES


def test_the_pdf_lists_them(result: Path) -> None:
    document = pydicom.dcmread(result / "dicom" / "report.dcm")
    assert document.DocumentTitle == "Structures and their volumes"
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    # The picture of the other page comes first among the streams.
    packed = re.findall(rb"stream\r?\n(.*?)~>\s*endstream", pdf, re.DOTALL)[1]
    text = zlib.decompress(base64.a85decode(packed))
    assert b"(Thigh muscles)" in text and b"(Sacrum" in text and b"(Sartorius)" not in text
    assert b"(midline: mean HU)" in text and pdf.count(b"/Type /Page\n") == 2


def test_a_table_of_codes_comes_back_from_its_entries_and_its_file(tmp_path: Path) -> None:
    table = own_table([{"name": "soleus", "code": "99LAB:37005007"}, {"name": "femur"}])
    assert structure_code(table.by_key["soleus"]).value == "37005007" and table.by_key["soleus"].code is not None
    assert own_table(entries_of(table)) == table
    write_structure_table(table, tmp_path / "t.csv")
    assert read_structure_table(tmp_path / "t.csv") == table
    for wrong in ("37005007", "SCT:", "SCT:" + "1" * 17, "S C:12"):
        with pytest.raises(SettingsError, match="scheme:value"):
            own_table([{"name": "soleus", "code": wrong}])
    twice = [{"name": "soleus", "code": "99LAB:37005007"}, {"name": "gastrocnemius", "code": "99LAB:37005007"}]
    with pytest.raises(SettingsError, match="DICOM code '37005007' is given more than once"):
        own_table(twice)


def test_the_node_s_worker_writes_them(series: Path, tmp_path: Path) -> None:
    weights = write_own_bundle(tmp_path / "weights")
    request = {"series": str(series), "output": str(tmp_path / "out"), "subject": "node"}
    command = [sys.executable, "-m", "vastus.node.worker", "dicom-seg,rtstruct", str(weights), "1"]
    done = subprocess.run(command, input=json.dumps(request) + "\n", capture_output=True, text=True, check=False)
    assert json.loads(done.stdout.splitlines()[-1]) == {"ok": True}, done.stderr
    segments = pydicom.dcmread(tmp_path / "out" / "dicom" / "seg.dcm").SegmentSequence
    assert {s.TrackingID for s in segments} == SIDED


def test_pseudo_labels_become_a_set_of_the_same_structures(tmp_path: Path) -> None:
    scan = write_own_data_set(tmp_path / "set") / "imagesTr" / "case0_0000.nii.gz"
    weights = write_own_bundle(tmp_path / "weights")
    said = ran(
        "pseudo-label", scan, "-o", tmp_path / "out", "--weights", weights, "--doubt", "hip_bone", "--threads", "1"
    )
    assert "1 of 1 scan(s)" in said
    found = read_dataset(tmp_path / "out")
    assert tuple(found.table.by_key) == NAMES and found.table == read_structure_table(
        tmp_path / "out/structure_table.csv"
    )
    values = np.asarray(nibabel.load(tmp_path / "out" / "labelsTr" / "case0_0000.nii.gz").dataobj)
    assert {1, 2, 3} <= set(np.unique(values)) <= {0, 1, 2, 3, 255}  # hip bones are doubted
    wrong = runner.invoke(
        app, ["pseudo-label", str(scan), "-o", str(tmp_path / "b"), "--weights", str(weights), "--doubt", "sartorius"]
    )
    assert "Structures are thigh_muscles, femur, sacrum, hip_bone; groups are merged, bone" in str(wrong.exception)


# cohort

COHORT_TABLE = TABLE + "erector_spinae,Erector spinae,Back,,no,\n"


def write_cohort(folder: Path, people: int = 24, effect: float = 0.7) -> tuple[Path, Path]:
    """A table of volumes and a clinical one; muscles of people of low mass are ``effect`` times as large."""
    folder.mkdir()
    (folder / "structure_table.csv").write_text(COHORT_TABLE)
    table = read_structure_table(folder / "structure_table.csv")
    rng = np.random.default_rng(3)
    rows, clinical = [], []
    for number in range(people):
        sex, low = "FM"[number % 2], number % 4 < 2
        size = (effect if low else 1.0) * (1.3 if sex == "M" else 1.0)
        for structure in table.rows:
            for side in structure.sides:
                mm3 = 400_000 * (size if structure.is_muscle else 1.0) * rng.normal(1, 0.03)
                row = (
                    f"p{number}",
                    structure.key,
                    structure.group.value,
                    side.value,
                    f"{mm3:.1f}",
                    "50",
                    "false",
                    "false",
                )
                rows.append(row)
        smi = {"F": (5.0, 6.6), "M": (6.2, 8.0)}[sex][not low]
        grip = {"F": (14, 24), "M": (22, 38)}[sex][not low]
        clinical.append((f"p{number}", sex, 60 + number % 9, 160, 60, smi + rng.normal(0, 0.02), "dxa", grip))
    with (folder / "volumes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("subject", "structure", "group", "side", "volume_mm3", "mean_hu", "truncated", "fragment"), *rows]
        )
    names = ("subject", "sex", "age_years", "height_cm", "weight_kg", "smi_kg_m2", "mass_method", "grip_kg")
    with (folder / "clinical.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *clinical])
    return folder / "volumes.csv", folder / "clinical.csv"


def test_a_cohort_of_them_finds_the_planted_effect_under_their_names(tmp_path: Path) -> None:
    from docx import Document
    from openpyxl import load_workbook

    volumes, clinical = write_cohort(tmp_path / "study")
    said = ran("cohort", volumes, clinical, "-o", tmp_path / "out")
    assert "Women: 2 of 2 muscles correlate with sarcopenia" in said
    rows = list(csv.DictReader((tmp_path / "out/tables/correlation_sarcopenia.csv").open()))
    assert {row["label"] for row in rows} == {"Thigh muscles", "Erector spinae", "Merged", "Back"}
    assert all(float(row["r"]) < -0.8 for row in rows if row["stratum"] in ("Women", "Men"))
    note = {row["note"] for row in csv.DictReader((tmp_path / "out/tables/reference_thigh.csv").open())}
    assert note == {"the table of structures lacks single muscles of the thigh, or the femur"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h1>Muscle volumes and sarcopenia</h1>" in page and "Erector spinae" in page and "Sartorius" not in page
    assert read_structure_table(tmp_path / "out/structure_table.csv") == read_structure_table(
        volumes.parent / "structure_table.csv"
    )
    sheet = load_workbook(tmp_path / "out" / "results.xlsx")["structures"]
    assert [cell.value for cell in sheet[1]][1:] == ["Thigh muscles", "Erector spinae", "Merged", "Back"]
    words = "\n".join(p.text for p in Document(tmp_path / "out" / "tables.docx").paragraphs)
    assert "Muscle volumes and sarcopenia" in words
    assert len(list((tmp_path / "out" / "figures").glob("heatmap_*.png"))) == 2


def test_rules_and_a_table_of_its_own_name_them(tmp_path: Path) -> None:
    volumes, clinical = write_cohort(tmp_path / "study")
    table = (volumes.parent / "structure_table.csv").rename(tmp_path / "mine.csv")
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "Back in the scan"\naction = "include"\ncoverage = ["erector_spinae"]\n')
    text = volumes.read_text().replace(
        "p1,erector_spinae,back,midline,", "p1,erector_spinae,back,midline,,,true,false\nx"
    )
    lines = [line for line in text.splitlines() if not line.startswith("x")]
    volumes.write_text("\n".join(lines) + "\n")
    ran("cohort", volumes, clinical, "-o", tmp_path / "out", "--rules", rules, "--structures", table)
    out = {row["id"]: row["reason"] for row in csv.DictReader((tmp_path / "out/tables/left_out.csv").open())}
    assert out == {"p1": "Back in the scan"}


def test_a_table_without_a_muscle_and_mixed_tables_are_refused(tmp_path: Path) -> None:
    volumes, clinical = write_cohort(tmp_path / "study")
    bones = tmp_path / "bones.csv"
    bones.write_text("name,kind\nthigh_muscles,other\nfemur,\nsacrum,bone\nhip_bone,\nerector_spinae,other\n")
    refused = runner.invoke(
        app, ["cohort", str(volumes), str(clinical), "-o", str(tmp_path / "o"), "--structures", str(bones)]
    )
    assert "no muscle in the table of structures" in str(refused.exception)
    scans = tmp_path / "scans"
    for name, own in (("a", True), ("b", False)):
        (scans / name).mkdir(parents=True)
        shutil.copy(volumes, scans / name / "volumes.csv")
        if own:
            (scans / name / "structure_table.csv").write_text(COHORT_TABLE)
    mixed = runner.invoke(app, ["cohort", str(scans), str(clinical), "-o", str(tmp_path / "o")])
    assert "those of a are not those of b" in str(mixed.exception)
    assert BUILT_IN.by_key["femur"].sides[0].value == "right"
