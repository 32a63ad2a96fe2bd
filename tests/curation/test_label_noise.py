from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from folder_of_phantoms import phantoms, write_case
from vastus.anatomy import BY_KEY, UNLABELLED, Side
from vastus.curation.findings import Decision, accept, picture_path, propose, read_findings, reject
from vastus.curation.label_noise import CheckOptions, LabelledCase, check_labels, find_cases
from vastus.curation.suspicion import FindingKind
from vastus.errors import GeometryError, MissingInputError
from vastus.io.labels import read_labels
from vastus.volume import Volume

VASTUS = BY_KEY["vastus_lateralis"].label_value(Side.RIGHT)
GRACILIS = BY_KEY["gracilis"].label_value(Side.LEFT)
GLUTEUS = BY_KEY["gluteus_maximus"].label_value(Side.RIGHT)
BICEPS = (BY_KEY["biceps_femoris"].label_value(Side.RIGHT), BY_KEY["biceps_femoris"].label_value(Side.LEFT))
PAIR = (BY_KEY["semitendinosus"].label_value(Side.LEFT), BY_KEY["semimembranosus"].label_value(Side.LEFT))


def spoilt(number: int) -> np.ndarray:
    """One error in each of five scans."""
    labels = phantoms()[number].labels.array.copy(order="F")
    if number == 1:  # missing slices
        heights = np.flatnonzero((labels == VASTUS).any(axis=(0, 1)))
        slab = labels[:, :, heights[len(heights) // 2] :][:, :, :2]
        slab[slab == VASTUS] = 0
    elif number == 2:  # an island
        labels[20:23, 30:33, 20:22] = GRACILIS
    elif number == 3:  # grown
        grown = ndimage.binary_dilation(labels == GLUTEUS, iterations=2)
        labels[grown] = GLUTEUS
    elif number == 4:  # sides swapped
        table = np.arange(256, dtype=np.uint8)
        table[list(BICEPS)] = BICEPS[::-1]
        labels = table[labels]
    elif number == 5:  # names swapped
        table = np.arange(256, dtype=np.uint8)
        table[list(PAIR)] = PAIR[::-1]
        labels = table[labels]
    return labels


PLANTED = {
    1: ({VASTUS}, FindingKind.MISSING_SLICES),
    2: ({GRACILIS}, FindingKind.ISLAND),
    3: ({GLUTEUS}, None),
    4: (set(BICEPS), FindingKind.SIDES),
    5: (set(PAIR), FindingKind.SWAPPED),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labelled")
    for number, case in enumerate(phantoms()):
        write_case(folder, case, spoilt(number))
    true = {case.name: case.labels for case in phantoms()}
    out = folder / "out"
    check_labels(find_cases(folder), out, CheckOptions(predict=lambda name, _scan: true[name]))
    return folder, out


def test_every_planted_error_is_found_and_little_else(checked: tuple[Path, Path]) -> None:
    found = read_findings(checked[1])
    for number, (values, kind) in PLANTED.items():
        hits = [f for f in found if f.case == f"case{number}" and f.value in values]
        assert hits, f"case{number} was missed"
        assert kind is None or hits[0].kind is kind
    sound = [f for f in found if f.case in ("case0", "case6", "case7")]
    assert not sound


def test_each_proposal_brings_the_structure_nearer_to_the_truth(checked: tuple[Path, Path]) -> None:
    folder, out = checked
    for number, (values, _) in PLANTED.items():
        finding = next(f for f in read_findings(out) if f.case == f"case{number}" and f.value in values)
        labels = read_labels(folder / "labels" / f"{finding.case}.nii.gz")
        truth = phantoms()[number].labels.array == finding.value
        before = (truth != (labels.array == finding.value)).sum()
        after = (truth != (propose(out, finding.id, labels).array == finding.value)).sum()
        assert after < 0.5 * before, f"case{number}: {before} -> {after}"


def test_pictures_and_page_are_there(checked: tuple[Path, Path]) -> None:
    out = checked[1]
    page = (out / "index.html").read_text(encoding="utf-8")
    for finding in read_findings(out):
        assert picture_path(out, finding.id).stat().st_size > 500
        assert f"pictures/{finding.id}.png" in page
    assert "http" not in page and "<script" not in page


def test_decisions_are_kept_and_the_last_one_counts(checked: tuple[Path, Path]) -> None:
    folder, out = checked
    first, second, *_ = (f for f in read_findings(out) if f.has_proposal)
    labels = read_labels(folder / "labels" / f"{first.case}.nii.gz")
    corrected = accept(out, first.id, labels, who="an annotator")
    assert (corrected.array != labels.array).any()
    reject(out, second.id)
    states = {f.id: f.decision for f in read_findings(out)}
    assert states[first.id] is Decision.ACCEPTED and states[second.id] is Decision.REJECTED
    reject(out, first.id)
    assert next(f for f in read_findings(out) if f.id == first.id).decision is Decision.REJECTED


def test_a_proposal_leaves_alone_what_was_corrected_since(checked: tuple[Path, Path]) -> None:
    folder, out = checked
    finding = next(f for f in read_findings(out) if f.has_proposal)
    labels = read_labels(folder / "labels" / f"{finding.case}.nii.gz")
    changed = propose(out, finding.id, labels).array != labels.array
    at = tuple(np.argwhere(changed)[0])
    labels.array[at] = 128 if labels.array[at] != 128 else 129
    assert propose(out, finding.id, labels).array[at] == labels.array[at]


@pytest.mark.parametrize("name", ["f9999", "../f0001", "f0001/../f0002", "", "f0001.png"])
def test_foreign_ids_are_refused(checked: tuple[Path, Path], name: str) -> None:
    with pytest.raises(MissingInputError):
        reject(checked[1], name)
    with pytest.raises(MissingInputError):
        propose(checked[1], name, phantoms()[0].labels)


def test_labels_of_another_grid_are_refused(checked: tuple[Path, Path]) -> None:
    finding = next(f for f in read_findings(checked[1]) if f.has_proposal)
    with pytest.raises(GeometryError):
        propose(checked[1], finding.id, Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)))


def test_without_a_model_what_is_wrong_by_itself_is_still_found(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        write_case(tmp_path, phantoms()[number], spoilt(number))
    found = check_labels(find_cases(tmp_path), tmp_path / "out", CheckOptions(pictures=False))
    assert {(f.case, f.kind) for f in found} >= {
        ("case1", FindingKind.MISSING_SLICES),
        ("case2", FindingKind.ISLAND),
        ("case4", FindingKind.SIDES),
    }


def test_a_scan_with_all_sides_swapped_is_one_finding(tmp_path: Path) -> None:
    labels = phantoms()[0].labels.array
    mirrored = np.where(labels == 0, 0, np.where(labels < 200, labels + 100, labels - 100)).astype(np.uint8)
    found = check_labels([write_case(tmp_path, phantoms()[0], mirrored)], tmp_path / "out")
    assert [(f.value, f.kind) for f in found] == [(0, FindingKind.SIDES)]
    right = propose(tmp_path / "out", found[0].id, read_labels(tmp_path / "labels" / "case0.nii.gz"))
    assert (right.array == labels).mean() > 0.999


def test_the_order_of_the_axes_does_not_matter(tmp_path: Path) -> None:
    case = phantoms()[2]
    turned = [Volume(np.flip(v.array.transpose(2, 0, 1), 0), v.affine) for v in (case.ct, case.labels)]
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, case.ct.shape[2] - 1
    swap = np.zeros((4, 4))
    swap[0, 1] = swap[1, 2] = swap[2, 0] = swap[3, 3] = 1
    affine = case.ct.affine @ swap @ flip
    spoiled = np.flip(spoilt(2).transpose(2, 0, 1), 0)
    other = type(case)(case.name, Volume(turned[0].array, affine), Volume(np.ascontiguousarray(spoiled), affine))
    found = check_labels([write_case(tmp_path, other)], tmp_path / "out", CheckOptions(pictures=False))
    assert [(f.value, f.kind) for f in found] == [(GRACILIS, FindingKind.ISLAND)]
    mended = propose(tmp_path / "out", found[0].id, other.labels).array
    truth = np.flip(case.labels.array.transpose(2, 0, 1), 0)
    assert np.array_equal(mended == GRACILIS, truth == GRACILIS)


def test_wrong_grids_and_empty_folders_are_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path, phantoms()[0])
    other = write_case(tmp_path / "b", type(phantoms()[0])("x", phantoms()[1].ct, phantoms()[1].labels))
    with pytest.raises(GeometryError):
        check_labels([LabelledCase("mixed", case.scan_path, other.labels_path)], tmp_path / "out")
    with pytest.raises(MissingInputError):
        find_cases(tmp_path / "nothing")


def test_slices_that_nobody_drew_are_no_missing_slices(tmp_path: Path) -> None:
    case = phantoms()[0]
    sparse = np.full_like(case.labels.array, UNLABELLED)
    sparse[:, :, ::5] = case.labels.array[:, :, ::5]
    write_case(tmp_path, case, sparse)
    options = CheckOptions(predict=lambda _name, _scan: case.labels, pictures=False)
    assert check_labels(find_cases(tmp_path), tmp_path / "out", options) == ()


def test_an_error_beside_unlabelled_voxels_is_found_and_255_is_never_changed(tmp_path: Path) -> None:
    case = phantoms()[2]
    partly = spoilt(2)
    partly[20:30, 28:36, 23:26] = UNLABELLED  # beside the island
    write_case(tmp_path, case, partly)
    options = CheckOptions(predict=lambda _name, _scan: case.labels, pictures=False)
    found = check_labels(find_cases(tmp_path), tmp_path / "out", options)
    island = next(f for f in found if f.value == GRACILIS)
    assert island.kind is FindingKind.ISLAND and island.has_proposal
    path = find_cases(tmp_path)[0].labels_path
    better = propose(tmp_path / "out", island.id, read_labels(path, partly=True))
    assert not (better.array[20:23, 30:33, 20:22] == GRACILIS).any()
    assert np.array_equal(better.array == UNLABELLED, partly == UNLABELLED)
