from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_factory import MR, series, write_series
from vastus.batch import pacs_inputs
from vastus.batch.inputs import find_scans
from vastus.batch.ledger import FoundScan
from vastus.batch.scan_names import clean_name, scan_name
from vastus.errors import MissingInputError, SettingsError, UnreachablePacsError
from vastus.io.scans import read_scan


class Memory:
    """What the ledger keeps about folders, in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, dict[str, Any]]] = {}
        self.hits = 0

    def recall_folder(self, path: str, signature: str) -> dict[str, Any] | None:
        known = self.entries.get(path)
        if known is None or known[0] != signature:
            return None
        self.hits += 1
        return known[1]

    def remember_folder(self, path: str, signature: str, found: dict[str, Any]) -> None:
        self.entries[path] = signature, found


def found(*inputs: Path, **options: Any) -> list[FoundScan]:
    return list(find_scans(inputs, Path("/nowhere"), **options))


def touch(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_images_are_found_at_every_depth_but_not_in_the_output(tmp_path: Path) -> None:
    for name in (
        "a.nii.gz",
        "p1/CT/b.nrrd",
        "p1/CT/notes.txt",
        "p2/c.mha",
        ".hidden/d.nii",
        "out/scans/a/labels.nii.gz",
    ):
        touch(tmp_path / name)
    scans = list(find_scans([tmp_path], tmp_path / "out"))
    assert [(s.path.relative_to(tmp_path).as_posix(), s.name) for s in scans] == [
        ("a.nii.gz", "a"),
        ("p1/CT/b.nrrd", "p1-CT-b"),
        ("p2/c.mha", "p2-c"),
    ]


def test_the_best_series_of_each_study_is_taken_and_can_be_read(tmp_path: Path) -> None:
    soft, sharp = series(kernel="B30f", study_uid="1.1"), series(kernel="B70f", study_uid="1.1")
    other = series(study_uid="1.2", patient="P2")
    write_series(tmp_path / "first" / "soft", soft)
    write_series(tmp_path / "first" / "sharp", sharp)
    write_series(tmp_path / "second" / "ct", other)
    write_series(tmp_path / "second" / "mr", series(modality="MR", sop_class=MR, study_uid="1.2"))
    scans = found(tmp_path)
    assert [(s.name, s.series) for s in scans] == [("first-soft", soft.series_uid), ("second-ct", other.series_uid)]
    for scan in scans:
        assert read_scan(scan.path, series=scan.series).volume.shape == (10, 12, 8)
    every = found(tmp_path, every_series=True)
    assert {s.series for s in every} == {soft.series_uid, sharp.series_uid, other.series_uid}


def test_one_flat_folder_of_several_studies_is_told_apart_by_uid(tmp_path: Path) -> None:
    one, two = series(study_uid="1.1"), series(study_uid="1.2", patient="P2")
    write_series(tmp_path / "flat", one, prefix="a")
    write_series(tmp_path / "flat", two, prefix="b")
    memory = Memory()
    assert {s.series for s in found(tmp_path, memory=memory)} == {one.series_uid, two.series_uid}
    # A folder with several studies is read anew: none of them may be lost by remembering another.
    assert {s.series for s in found(tmp_path, memory=memory)} == {one.series_uid, two.series_uid}


def test_a_series_spread_over_two_folders_is_one_scan(tmp_path: Path) -> None:
    whole = series(8)
    first = whole.but(hu=whole.hu[:4], positions=whole.positions[:4])
    second = whole.but(hu=whole.hu[4:], positions=whole.positions[4:])
    write_series(tmp_path / "x" / "part1", first)
    write_series(tmp_path / "x" / "part2", second)
    (scan,) = found(tmp_path)
    assert scan.path == tmp_path / "x"
    assert read_scan(scan.path, series=scan.series).volume.shape == (10, 12, 8)


def test_folders_seen_before_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "p" / "soft", series(kernel="B30f", study_uid="1.1"))
    write_series(tmp_path / "p" / "sharp", series(kernel="B70f", study_uid="1.1"))
    memory = Memory()
    before = found(tmp_path, memory=memory)

    def refuse(_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("vastus.batch.dicom_tree.take_inventory", refuse)
        assert found(tmp_path, memory=memory) == before
    touch(tmp_path / "p" / "soft" / "notes.txt")
    again = found(tmp_path, memory=memory)
    assert [s.series for s in again] == [s.series for s in before] and again != before


def test_a_damaged_series_is_entered_so_that_it_is_refused_by_name(tmp_path: Path) -> None:
    write_series(tmp_path / "good", series())
    files = write_series(tmp_path / "bad", series(study_uid="1.9"))
    files[3].write_bytes(b"")
    assert [(s.name, s.series is None) for s in found(tmp_path)] == [("bad", True), ("good", False)]


def test_lists_name_scans_with_names_and_series(tmp_path: Path) -> None:
    touch(tmp_path / "scans/a.nii.gz")
    touch(tmp_path / "list.csv", "path,name,series\nscans/a.nii.gz,First one,\nscans/gone,,1.2.3\n")
    first, gone = found(tmp_path / "list.csv")
    assert (first.path, first.name, first.series) == (tmp_path / "scans/a.nii.gz", "First one", None)
    assert (gone.name, gone.series, gone.fingerprint) == ("gone", "1.2.3", "missing")
    import pandas as pd

    pd.DataFrame({"path": [str(tmp_path / "scans/a.nii.gz")]}).to_parquet(tmp_path / "list.parquet")
    assert [s.path for s in found(tmp_path / "list.parquet")] == [tmp_path / "scans/a.nii.gz"]


def test_bad_lists_and_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no column 'path'"):
        found(touch(tmp_path / "a.csv", "file\nx\n"))
    with pytest.raises(SettingsError, match="Line 3"):
        found(touch(tmp_path / "b.csv", "path,name\nx,\n,y\n"))
    with pytest.raises(MissingInputError):
        found(tmp_path / "none")


def test_names_are_good_folder_names(tmp_path: Path) -> None:
    assert clean_name("a/b:c*d\x00") == "a_b_c_d_"
    assert clean_name("..") == "scan"
    assert len(clean_name("x" * 300 + "end")) == 80 and clean_name("x" * 300 + "end").endswith("end")
    assert scan_name(touch(tmp_path / "p" / "a.b.nii.gz"), tmp_path) == "p-a.b"


def test_a_query_finds_the_ct_studies_of_a_pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dicomweb_client")
    asked = []

    def studies(_: object, filters: dict[str, str]) -> list[str]:
        asked.append(filters)
        return ["1.2.3", "1.2.4"]

    monkeypatch.setattr("vastus.dicom.web.WebPacs.studies", studies)
    # The command line makes one slash of two.
    scans = found(Path("dicomweb://localhost:8042/dicom-web?StudyDate=20200101-20201231"))
    assert asked == [{"ModalitiesInStudy": "CT", "StudyDate": "20200101-20201231"}]
    assert [(str(s.path), s.name) for s in scans] == [
        (f"dicomweb:/localhost:8042/dicom-web/studies/{uid}", uid) for uid in ("1.2.3", "1.2.4")
    ]
    touch(tmp_path / "list.csv", "path\ndicom://PACS@localhost:4242/studies/1.5?aet=ME\n")
    assert [s.name for s in found(tmp_path / "list.csv")] == ["1.5"]
    with pytest.raises(SettingsError, match="neither a study nor a query"):
        found(Path("dicomweb://localhost/dicom-web"))


def test_a_study_is_fetched_for_its_task_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vastus.batch import pacs_inputs

    seen = []

    def fetch(address: Any, folder: Path) -> int:
        seen.append((address.study, folder))
        return len(write_series(folder, series()))

    monkeypatch.setattr(pacs_inputs, "fetch_study", fetch)
    with pacs_inputs.StudyFetcher().fetched_study(Path("dicomweb:/localhost:8042/dicom-web/studies/1.2.3")) as folder:
        assert read_scan(folder).volume.shape == (10, 12, 8)
    assert seen == [("1.2.3", folder)] and not folder.exists()


@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_as_spreadsheets_save_it(tmp_path: Path, encoding: str, separator: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    (tmp_path / "l.csv").write_bytes(f"Path{separator}name\na.nii.gz{separator}환자 1\n".encode(encoding))
    assert [(s.path.name, s.name) for s in find_scans([tmp_path / "l.csv"], tmp_path / "o")] == [("a.nii.gz", "환자 1")]


def test_a_list_without_the_column_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("file;name\na.nii.gz;x\n")
    with pytest.raises(SettingsError, match="file, name"):
        list(find_scans([tmp_path / "l.csv"], tmp_path / "o"))


def test_a_path_that_holds_the_separator_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,name\na,b.nii.gz,x\n")
    with pytest.raises(SettingsError, match="Line 2"):
        list(find_scans([tmp_path / "l.csv"], tmp_path / "o"))


@pytest.mark.parametrize("scheme", ["dicom", "dicoms", "dicomweb", "dicomwebs", "DICOMWEB"])
def test_every_kind_of_address_is_one_on_the_command_line_and_in_a_list(tmp_path: Path, scheme: str) -> None:
    address = f"{scheme}://host:4242/studies/1.2.3"
    (tmp_path / "l.csv").write_text(f"path,name,series\n{address},first visit,1.2.3.4\n{address},,\n")
    (given,) = find_scans([Path(address)], tmp_path / "o")
    named, plain = find_scans([tmp_path / "l.csv"], tmp_path / "o")
    assert given.name == plain.name == "1.2.3"
    assert named.name == "first visit"
    assert str(named.path).endswith("/studies/1.2.3/series/1.2.3.4")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("dicomweb://h/dicom-web?StudyDate=2020,all of them,", "many studies"),
        ("dicomweb://h/studies/1.2/series/1.3,,1.4", "another series"),
        ("dicomweb://h/studies/1.2,,axial", "Series Instance UID"),
    ],
)
def test_what_a_list_asks_of_a_pacs_and_can_not_have_is_refused(tmp_path: Path, row: str, told: str) -> None:
    (tmp_path / "l.csv").write_text(f"path,name,series\n{row}\n")
    with pytest.raises(SettingsError, match=told):
        list(find_scans([tmp_path / "l.csv"], tmp_path / "o"))


class _Restarting:
    """A PACS that does not answer the first times."""

    def __init__(self, silent: int) -> None:
        self.silent, self.asked = silent, 0

    def __call__(self, address: Any, folder: Path) -> int:
        self.asked += 1
        if self.asked <= self.silent:
            raise UnreachablePacsError("does not answer")
        return 1


def test_a_pacs_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pacs, slept = _Restarting(silent=2), []
    monkeypatch.setattr(pacs_inputs, "fetch_study", pacs)
    monkeypatch.setattr(pacs_inputs.time, "sleep", slept.append)
    with pacs_inputs.StudyFetcher((1.0, 3.0, 8.0)).fetched_study(Path("dicom:/h/studies/1.2")) as folder:
        assert folder.is_dir()
    assert (pacs.asked, slept) == (3, [1.0, 3.0])


def test_a_pacs_that_stays_silent_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pacs, slept = _Restarting(silent=100), []
    monkeypatch.setattr(pacs_inputs, "fetch_study", pacs)
    monkeypatch.setattr(pacs_inputs.time, "sleep", slept.append)
    fetcher = pacs_inputs.StudyFetcher((1.0, 3.0))
    for _ in range(3):
        with pytest.raises(UnreachablePacsError), fetcher.fetched_study(Path("dicom:/h/studies/1.2")):
            pass
    assert (pacs.asked, slept) == (3 + 1 + 1, [1.0, 3.0])


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000 + ".nii", "김" * 200])
def test_a_path_that_no_system_takes_is_entered_like_a_missing_one(tmp_path: Path, name: str) -> None:
    path = touch(tmp_path / "list.csv", f"path\n{name}\nb.nii\n")
    assert [scan.fingerprint for scan in found(path)] == ["missing", "missing"]
    with pytest.raises(MissingInputError):
        found(tmp_path / name)
