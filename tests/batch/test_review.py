from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_standin import rows_of
from vastus.anatomy import BUILT_IN, BY_KEY, STRUCTURES, Group
from vastus.batch.archive import stored_rows
from vastus.batch.processor import marked_warnings
from vastus.batch.review import STOP_PREFIX, Archive, Reason, findings, read_archive, warned
from vastus.io.csv_tables import VolumeRow, write_volume_rows


def archive(count: int = 60) -> Archive:
    """Scans whose volumes scatter by 10 %, both sides alike."""
    rng = np.random.default_rng(3)
    size = np.exp(rng.normal(0, 0.1, (count, len(STRUCTURES))))
    base = np.array([1000.0 * s.class_id for s in STRUCTURES])
    volume = np.concatenate([base * size, base * size * np.exp(rng.normal(0, 0.02, size.shape))], axis=1)
    sure = 1 / (1 + np.exp(-rng.normal(2.0, 0.3, (count, volume.shape[1] + 1))))
    names, cut = [f"s{n}" for n in range(count)], np.zeros(volume.shape, bool)
    return Archive(names, volume.astype(np.float32), cut, sure.astype(np.float32))


def column(key: str, side: str) -> int:
    return [label.name for label in BUILT_IN.whole_labels].index(f"{key}_{side}")


def reasons(found: list) -> dict[int, set[Reason]]:
    return {n: {f.reason for f in each} for n, each in enumerate(found) if each}


def test_an_ordinary_archive_has_hardly_any_findings() -> None:
    assert len(reasons(findings(archive(200)))) <= 4


def test_what_was_planted_is_found_and_nothing_else() -> None:
    seen = archive()
    for c in (column("psoas", "right"), column("psoas", "left")):
        seen.volume_mm3[3, c] *= 3
    seen.volume_mm3[5, column("gracilis", "left")] *= 1.5
    seen.truncated[7, column("femur", "right")] = True
    seen.volume_mm3[9, column("sartorius", "left")] = np.nan
    found = findings(seen)
    planted = {3: {Reason.VOLUME}, 5: {Reason.ASYMMETRY}, 7: {Reason.TRUNCATED}, 9: {Reason.ABSENT}}
    assert {n: r for n, r in reasons(found).items() if n in planted} == {
        n: r | ({Reason.VOLUME} & reasons(found)[n]) for n, r in planted.items()
    }
    assert "psoas right large" in {f.text.partition(" (")[0] for f in found[3]}
    assert any(f.text.startswith("gracilis 5") and "larger on the left" in f.text for f in found[5])
    assert found[7][0].text == "femur right cut by the edge of the scan"
    assert len(reasons(found)) <= 6


def test_what_is_cut_in_most_scans_is_no_finding() -> None:
    seen = archive()
    seen.truncated[:50, column("multifidus", "right")] = True
    assert all(f.reason is not Reason.TRUNCATED for each in findings(seen) for f in each)


def test_few_scans_are_judged_by_sides_alone() -> None:
    seen = archive(3)
    seen.volume_mm3[1, column("gracilis", "right")] *= 2
    found = findings(seen)
    assert reasons(found) == {1: {Reason.ASYMMETRY}}
    assert found[1][0].text.endswith("larger on the right")


def test_the_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [*rows_of("a"), *rows_of("b")]
    psoas = rows[[r.structure for r in rows].index("psoas")]
    rows[rows.index(psoas)] = VolumeRow("a", "psoas", psoas.group, psoas.side, None, None, False)
    write_volume_rows(rows, tmp_path / "volumes.csv")
    seen = read_archive(tmp_path / "volumes.csv")
    assert seen.names == ["a", "b"]
    assert np.isnan(seen.volume_mm3).sum() == 1 and np.isnan(seen.volume_mm3[0, column("psoas", psoas.side.value)])
    thigh = {Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR}
    expected = sum(r.volume_mm3 for r in rows_of("b") if r.side.value == "left" and BY_KEY[r.structure].group in thigh)
    assert seen.muscles_mm3[1, 1] == pytest.approx(expected, rel=1e-6)


def test_a_table_of_many_pieces_is_read_like_a_small_one(tmp_path: Path) -> None:
    names = [f"s{n:04d}" for n in range(700)]
    write_volume_rows([row for name in names for row in rows_of(name)], tmp_path / "volumes.csv")
    assert (tmp_path / "volumes.csv").stat().st_size > 2 << 20  # pyarrow reads pieces of one MiB
    seen = read_archive(tmp_path / "volumes.csv")
    assert seen.names == names and not np.isnan(seen.volume_mm3).any()
    rows = {(r.structure, r.side.value): r.volume_mm3 for r in rows_of("s0450")}
    expected = [rows[label.structure.key, label.side.value] for label in BUILT_IN.whole_labels]
    np.testing.assert_allclose(seen.volume_mm3[450], expected, rtol=1e-4)


def test_a_network_that_was_not_sure_is_named() -> None:
    seen = archive()
    seen.confidence[4, column("psoas", "left")] = 0.35
    seen.confidence[6, -1] = 0.5
    seen.confidence[8, column("psoas", "left")] = 0.999  # surer than usual is no reason to look
    found = findings(seen)
    texts = {n: [f.text for f in each if f.reason is Reason.CONFIDENCE] for n, each in enumerate(found)}
    assert texts[4] == ["the network was not sure of psoas left (0.35)"]
    assert texts[6] == ["the network was not sure of the scan (0.50)"]
    assert sum(len(t) for t in texts.values()) <= 5
    few = archive(3)
    few.confidence[1, -1] = 0.6
    assert [[f.reason for f in each] for each in findings(few)] == [[], [Reason.CONFIDENCE], []]


def test_confidence_is_read_in_whatever_order(tmp_path: Path) -> None:
    write_volume_rows([*rows_of("a"), *rows_of("b")], tmp_path / "volumes.csv")
    assert np.isnan(read_archive(tmp_path / "volumes.csv").confidence).all()
    (tmp_path / "confidence.csv").write_text(
        "subject,structure,side,confidence\nb,all,both,0.9\nb,psoas,left,0.8\na,all,both,0.7\ngone,all,both,0.1\n"
    )
    seen = read_archive(tmp_path / "volumes.csv").confidence
    assert seen[:, -1] == pytest.approx([0.7, 0.9]) and seen[1, column("psoas", "left")] == pytest.approx(0.8)
    assert np.count_nonzero(~np.isnan(seen)) == 3


def test_an_empty_table_gives_nothing(tmp_path: Path) -> None:
    write_volume_rows([], tmp_path / "volumes.csv")
    assert findings(read_archive(tmp_path / "volumes.csv")) == []


def test_a_fragment_is_as_good_as_absent(tmp_path: Path) -> None:
    rows = rows_of("a")
    speck = next(n for n, r in enumerate(rows) if r.structure == "biceps_femoris" and r.side.value == "right")
    whole = write_and_read(rows, tmp_path)
    rows[speck] = replace(rows[speck], volume_mm3=12.0, fragment=True)
    seen = write_and_read(rows, tmp_path)
    assert np.isnan(seen.volume_mm3[0, column("biceps_femoris", "right")])
    assert np.isnan(seen.volume_mm3).sum() == 1
    assert seen.muscles_mm3[0, 0] < whole.muscles_mm3[0, 0]
    assert findings(seen) == [[]]  # and no difference of 200 %


def test_a_table_of_an_older_version_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "volumes.csv"
    write_volume_rows(rows_of("a"), path)
    new = path.read_text()
    old = "".join(line.rpartition(",")[0] + "\n" for line in new.splitlines())
    path.write_text(old)
    assert not np.isnan(read_archive(path).volume_mm3).any()
    assert stored_rows(path) == new.partition("\n")[2]
    path.write_text(new)
    assert stored_rows(path) == new.partition("\n")[2]


def write_and_read(rows: list[VolumeRow], folder: Path) -> Archive:
    write_volume_rows(rows, folder / "volumes.csv")
    return read_archive(folder / "volumes.csv")


def test_a_structure_that_is_likely_wrong_comes_before_all_that_only_stands_out():
    some = archive(30)
    wrong = np.full(some.confidence.shape, np.nan, np.float32)
    wrong[7, column("gracilis", "left")], wrong[7, column("psoas", "right")] = 0.9, 0.6
    wrong[8, column("gracilis", "left")] = 0.4
    found = findings(replace(some, wrong=wrong))
    assert found[7][0].reason is Reason.AGREEMENT
    assert found[7][0].text == "likely wrong: gracilis left (0.90), psoas right (0.60)"
    assert found[7][0].weight > 10
    assert not any(f.reason is Reason.AGREEMENT for each in (*found[:7], *found[8:]) for f in each)


def test_the_agreement_expected_stands_where_it_is_known() -> None:
    seen = archive()
    wrong = np.full((len(seen.names), seen.volume_mm3.shape[1] + 1), np.nan, np.float32)
    wrong[7, column("gracilis", "left")] = 0.9
    expected = np.full_like(wrong, np.nan)
    expected[7, column("gracilis", "left")] = 0.41
    found = findings(replace(seen, wrong=wrong, expected=expected))
    assert found[7][0].text == "likely wrong (expected agreement): gracilis left (0.41)"


def test_a_scan_of_which_no_number_is_to_be_used_comes_before_everything() -> None:
    stop, other = warned(STOP_PREFIX + "The body lies the other way round."), warned("Metal on the left.")
    assert (stop.reason, other.reason) == (Reason.STOP, Reason.WARNING)
    assert stop.weight > 10 * (58 + other.weight)


def test_warnings_that_stop_a_reader_are_marked_for_the_list() -> None:
    record = {"warnings": ["a", "b"], "alarms": ["b", "Gracilis, left: 0.4"]}
    assert marked_warnings(record) == ("a", "STOP: b")
    assert marked_warnings({"warnings": ["a"]}) == ("a",)
