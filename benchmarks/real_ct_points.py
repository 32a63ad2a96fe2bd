"""Share of marked points of real CT that a network names right, per muscle and level.

    python benchmarks/real_ct_points.py --scans FOLDER [--weights BUNDLE] [--keep LABELS] --out RESULTS
    python benchmarks/real_ct_points.py --labels LABELS --out RESULTS

FOLDER holds the CTs (``STS_013_CT.nii.gz``, ...); LABELS holds label maps named after the scans, or what
``vastus segment`` wrote, one folder a scan. The points and how they were marked: ``benchmarks/data/README.md``.

A point is **right** when the voxel under it carries its structure; the side is counted apart, among the points that
are right. Intervals are Wilson's, 95%; points of one scan are not independent, so they are somewhat too narrow.
Written: ``real_ct_points.csv`` (one row a point) and ``real_ct_points.md``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from vastus.anatomy import BACKGROUND_ID, BY_KEY, BY_VALUE, STRUCTURES, Side
from vastus.evaluation.runner import label_files
from vastus.io.atomic import write_text
from vastus.io.labels import read_labels, write_labels
from vastus.io.scans import read_scan
from vastus.volume import Volume

POINTS_FILE = Path(__file__).parent / "data" / "real_ct_points.csv"
Segment = Callable[[Volume], Volume]


class Level(Enum):
    """Where along the leg a point lies, by eye."""

    HIP = "hip"
    PROXIMAL = "proximal"
    MIDDLE = "middle"
    DISTAL = "distal"


@dataclass(frozen=True, slots=True)
class MarkedPoint:
    """A point in a muscle that could be named with certainty; position in RAS+ mm."""

    scan: str
    side: Side
    level: Level
    key: str
    position_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the label map says at a point: a structure's key, ``background``, or ``outside``; and the side."""

    point: MarkedPoint
    found: str
    side: Side

    @property
    def right(self) -> bool:
        """Whether the structure is the marked one; the side is another question."""
        return self.found == self.point.key


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many, with Wilson's 95% interval."""

    right: int
    total: int

    def __str__(self) -> str:
        """E.g. ``45/50 | 90.0% | 78.6-95.7%``; nothing of nothing is a dash."""
        if not self.total:
            return "0/0 | - | -"
        low, high = self.interval()
        return f"{self.right}/{self.total} | {self.right / self.total:.1%} | {100 * low:.1f}-{high:.1%}"

    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval."""
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(self.right, self.total, alpha=0.05, method="wilson")
        return float(low), float(high)


def read_points(path: Path = POINTS_FILE) -> list[MarkedPoint]:
    """The marked points; an unknown structure, side or level is an error."""
    points = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            position = (float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"]))
            key = BY_KEY[row["structure"]].key
            points.append(MarkedPoint(row["scan"], Side(row["side"]), Level(row["level"]), key, position))
    return points


def judge(points: Iterable[MarkedPoint], labels: Volume) -> list[Verdict]:
    """Look the points of one scan up in its label map, whatever its axis order."""
    inverse = np.linalg.inv(labels.affine)
    verdicts = []
    for point in points:
        index = np.rint((inverse @ (*point.position_mm, 1.0))[:3]).astype(int)
        if (index < 0).any() or (index >= labels.shape).any():
            verdicts.append(Verdict(point, "outside", Side.UNKNOWN))
            continue
        value = int(labels.array[tuple(index)])
        if value == BACKGROUND_ID:
            verdicts.append(Verdict(point, "background", Side.UNKNOWN))
        else:
            verdicts.append(Verdict(point, BY_VALUE[value].structure.key, BY_VALUE[value].side))
    return verdicts


def share(verdicts: Iterable[Verdict]) -> Share:
    """Share of points named right."""
    answers = [v.right for v in verdicts]
    return Share(sum(answers), len(answers))


def side_share(verdicts: Iterable[Verdict]) -> Share:
    """Share of the points named right whose side is right too."""
    answers = [v.side is v.point.side for v in verdicts if v.right]
    return Share(sum(answers), len(answers))


def confusions(verdicts: Iterable[Verdict]) -> list[tuple[str, str, int]]:
    """(marked, found, how often) of the points named wrong, the most frequent first."""
    wrong = Counter((v.point.key, v.found) for v in verdicts if not v.right)
    return sorted(((a, b, n) for (a, b), n in wrong.items()), key=lambda row: (-row[2], row[0], row[1]))


def report(verdicts: Sequence[Verdict], title: str) -> str:
    """The Markdown page."""
    head = "points | named right | 95% interval |"
    lines = [f"# Marked points on real CT: {title}", ""]
    lines += [f"| | {head}", "|---|---|---|---|", f"| all | {share(verdicts)} |"]
    lines += [f"| side right, of those named right | {side_share(verdicts)} |", ""]
    lines += ["## By level", "", f"| level | {head}", "|---|---|---|---|"]
    lines += [f"| {x.value} | {share(v for v in verdicts if v.point.level is x)} |" for x in Level]
    lines += ["", "## By muscle", "", f"| structure | {head} by level |", "|---|---|---|---|---|"]
    for structure in STRUCTURES:
        own = [v for v in verdicts if v.point.key == structure.key]
        if own:
            by_level = {x: share(v for v in own if v.point.level is x) for x in Level}
            levels = ", ".join(f"{x.value} {s.right}/{s.total}" for x, s in by_level.items() if s.total)
            lines.append(f"| {structure.key} | {share(own)} | {levels} |")
    lines += ["", "## By scan", "", f"| scan | {head} side |", "|---|---|---|---|---|"]
    for name in sorted({v.point.scan for v in verdicts}):
        own = [v for v in verdicts if v.point.scan == name]
        side = side_share(own)
        lines.append(f"| {name} | {share(own)} | {side.right}/{side.total} |")
    lines += ["", "## What was called what", "", "| marked | found | points |", "|---|---|---|"]
    lines += [f"| {marked} | {found} | {n} |" for marked, found, n in confusions(verdicts)]
    return "\n".join(lines) + "\n"


def write_results(verdicts: Sequence[Verdict], out: Path, title: str) -> None:
    """One row a point, and the page."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "real_ct_points.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("scan", "level", "x_mm", "y_mm", "z_mm", "side", "structure", "found_side", "found", "right"))
        for v in verdicts:
            p = v.point
            place = (p.scan, p.level.value, *p.position_mm, p.side.value, p.key)
            writer.writerow((*place, v.side.value, v.found, "yes" if v.right else "no"))
    write_text(out / "real_ct_points.md", report(verdicts, title))


def map_of(files: dict[str, Path], scan: str) -> Path:
    """The label map of a scan: its case is called like the scan, or like the scan with ``_...`` after it."""
    found = [path for case, path in files.items() if case == scan or case.startswith(f"{scan}_")]
    if len(found) != 1:
        raise SystemExit(f"{len(found)} label maps for {scan}, one is needed.")
    return found[0]


def read_maps(folder: Path, scans: Sequence[str]) -> Iterator[tuple[str, Volume]]:
    """Label maps made before."""
    files = label_files(folder)
    for scan in scans:
        yield scan, read_labels(map_of(files, scan))


def make_maps(folder: Path, scans: Sequence[str], segment: Segment, keep: Path | None) -> Iterator[tuple[str, Volume]]:
    """Segment each scan now; with ``keep`` the label maps are written there."""
    for scan in scans:
        labels = segment(read_scan(folder / f"{scan}_CT.nii.gz").volume)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            write_labels(labels, keep / f"{scan}.nii.gz")
        yield scan, labels


def segmenter(weights: Path | None) -> Segment:
    """The network of a bundle, the shipped one by default."""
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.predictor import Predictor

    predictor = Predictor(load_bundle(weights) if weights else default_bundle())
    return lambda scan: predictor.segment(scan).labels


def main() -> None:
    """Judge all points, or those of some scans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--scans", type=Path, help="folder of the CTs: segment them now")
    source.add_argument("--labels", type=Path, help="folder of label maps made before")
    parser.add_argument("--weights", type=Path, help="bundle; default: the shipped one")
    parser.add_argument("--keep", type=Path, help="with --scans: write the label maps here")
    parser.add_argument("--only", nargs="*", default=[], help="only these scans")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    points = read_points()
    names = options.only or sorted({p.scan for p in points})
    if options.labels:
        maps = read_maps(options.labels, names)
    else:
        maps = make_maps(options.scans, names, segmenter(options.weights), options.keep)
    verdicts: list[Verdict] = []
    for name, labels in maps:
        own = judge((p for p in points if p.scan == name), labels)
        print(f"{name}: {share(own)}", file=sys.stderr, flush=True)
        verdicts += own
    used = options.weights or options.labels
    title = used.name if used else "shipped weights"
    write_results(verdicts, options.out, title)
    print(report(verdicts, title))


if __name__ == "__main__":
    main()
