"""Fit the model that says how well each structure is likely segmented (``vastus.quality``).

    python tools/fit_quality.py look SOURCES.json --cache FOLDER     the network runs once on each scan and view; kept
    python tools/fit_quality.py count SOURCES.json --cache FOLDER    failures are planted, structures judged; kept too
    python tools/fit_quality.py fit SOURCES.json --cache FOLDER -o src/vastus/quality/agreement.npz
    python tools/fit_quality.py all ...     all three; look and count can be shared by processes (--part)

``SOURCES.json`` names the scans with a truth::

    {"weights": "src/vastus/weights/hip-to-knee", "others": ["FOLDER of older weights"],
     "synthetic": "FOLDER of vastus synth", "drawn": "datasets/real-thigh", "images": "FOLDER of its CTs",
     "hip": {"ct": "...", "labels": "...", "weights": "..."}}

Only the network costs time: with new weights the fit is the same command again, with an emptied cache. Test patients
of the drawn set are looked at too; ``fit`` never uses them, and scores the finished model on them at the end.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_KEY, LABELS, UNLABELLED
from vastus.inference.bundle import load_bundle
from vastus.inference.choices import RuntimeOptions
from vastus.inference.evidence import Evidence, label_name
from vastus.inference.finish import Labelled, channel_of_label, label_scores, on_scan_grid
from vastus.inference.predictor import Looked, Predictor
from vastus.inference.stitch import ScoreMap
from vastus.io.atomic import atomic_path
from vastus.io.scans import read_scan
from vastus.preprocessing import Preprocessed
from vastus.quality.agreement import MODEL_FILE, WRONG_BELOW, Model, load_model, standardised, weights_hash
from vastus.quality.features import (
    CLASS_OF_ROW,
    INPUTS,
    USUAL,
    Population,
    Sections,
    contact_shares,
    features,
    raw_features,
)
from vastus.quality.levels import LEVELS_MM, count_presence
from vastus.volume import Volume, crop, to_ras

VIEWS: Final = ("noise", "shift", "thick", "scale", "crop", "upside_down", "back_to_front")


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the network: which scan, with which weights, how the scan was changed, and what it is for."""

    scan: str
    ct: Path
    truth: Path
    weights: Path
    view: str
    kind: str

    @property
    def name(self) -> str:
        """Of its files in the cache."""
        return f"{self.kind}-{self.scan}-{load_digest(self.weights)}-{self.view}"


def load_digest(weights: Path) -> str:
    """Twelve digits that name weights."""
    return load_bundle(weights).digest[:12]


def jobs_of(sources: dict[str, Any]) -> Iterator[Job]:
    """All runs, in an order in which early ones teach most."""
    main = Path(sources["weights"])
    others = [Path(folder) for folder in sources.get("others", [])]
    splits = json.loads((Path(sources["drawn"]) / "splits.json").read_text(encoding="utf-8"))
    labels, images = Path(sources["drawn"]) / "labels", Path(sources["images"])

    def drawn(scan: str, weights: Path, view: str, kind: str) -> Job:
        found = sorted(p for p in images.rglob(f"{scan}_*.nii.gz") if p.stem.lower().endswith("_ct.nii"))
        return Job(scan, found[0], labels / f"{scan}.nii.gz", weights, view, kind)

    for scan in splits["test"]:
        yield drawn(scan, main, "plain", "test")
    if "hip" in sources:
        hip = sources["hip"]
        yield Job("hip", Path(hip["ct"]), Path(hip["labels"]), Path(hip["weights"]), "plain", "test")
    for scan in splits["train"]:
        for other in others:
            yield drawn(scan, other, "plain", "train")
    synthetic = Path(sources["synthetic"])
    pairs = sorted((synthetic / "imagesTr").glob("*_0000.nii.gz"))
    for number, ct in enumerate(pairs):
        scan = ct.name.removesuffix("_0000.nii.gz")
        truth = synthetic / "labelsTr" / f"{scan}.nii.gz"
        yield Job(scan, ct, truth, main, "crop", "synthetic")
        yield Job(scan, ct, truth, main, VIEWS[number % len(VIEWS)] + "_crop", "synthetic")
    for number, scan in enumerate(splits["train"]):
        yield drawn(scan, main, "plain", "train")
        yield drawn(scan, main, VIEWS[number % len(VIEWS)], "train")


def changed(ct: Volume, truth: Volume, view: str, seed: int) -> tuple[Volume, Volume]:
    """A scan and its truth, both RAS, as a view shows them."""
    rng = np.random.default_rng([seed, len(view)])
    for step in view.split("_crop")[0:1]:
        hu = ct.array.astype(np.float32)
        if step == "noise":
            hu += rng.normal(0.0, rng.uniform(35, 90), hu.shape).astype(np.float32)
        elif step == "shift":
            hu += rng.choice([-1, 1]) * rng.uniform(25, 70)
        elif step == "scale":
            hu *= rng.uniform(0.5, 0.75) if rng.random() < 0.5 else rng.uniform(1.3, 1.7)
        elif step == "thick":
            for k in range(0, hu.shape[2], 4):
                hu[:, :, k : k + 4] = hu[:, :, k : k + 4].mean(axis=2, keepdims=True)
        elif step == "upside_down":
            return Volume(ct.array[:, :, ::-1].copy(), ct.affine), Volume(truth.array[:, :, ::-1].copy(), truth.affine)
        elif step == "back_to_front":
            return Volume(ct.array[:, ::-1].copy(), ct.affine), Volume(truth.array[:, ::-1].copy(), truth.affine)
        ct = Volume(np.clip(np.round(hu), -1024, 3071).astype(np.int16), ct.affine)
    if view.endswith("crop"):
        n = ct.shape[2]
        length = int(n * rng.uniform(0.35, 0.6))
        start = int(rng.integers(0, n - length + 1))
        low, high = (0, 0, start), (*ct.shape[:2], start + length)
        ct, truth = crop(ct, low, high), crop(truth, low, high)
    return ct, truth


def volumes_of(job: Job) -> tuple[Volume, Volume]:
    """CT and truth of a run, in RAS order."""
    import nibabel as nib

    ct = to_ras(read_scan(job.ct).volume)
    image = nib.as_closest_canonical(nib.load(job.truth))
    truth = Volume(np.asarray(image.dataobj).astype(np.uint8), np.asarray(image.affine))
    if truth.shape != ct.shape:
        sys.exit(f"{job.name}: {ct.shape} and {truth.shape} voxels")
    return changed(ct, Volume(truth.array, ct.affine), job.view, sum(map(ord, job.scan)))


def look(sources: dict[str, Any], cache: Path, part: tuple[int, int]) -> None:
    """Run the network where the cache lacks it; ``part`` (n, of) shares the work among processes."""
    cache.mkdir(parents=True, exist_ok=True)
    predictors: dict[Path, Predictor] = {}
    jobs = list(enumerate(jobs_of(sources)))
    for number, job in reversed(jobs) if part[1] < 0 else jobs:  # from both ends: processes need not wait
        path = cache / f"{job.name}.npz"
        if path.exists() or number % abs(part[1]) != part[0]:
            continue
        if job.weights not in predictors:
            predictors[job.weights] = Predictor(load_bundle(job.weights), RuntimeOptions(threads=1))
        ct, _ = volumes_of(job)
        looked = predictors[job.weights].look(ct)
        save_looked(path, looked)
        print(job.name, looked.windows, "windows", flush=True)


def save_looked(path: Path, looked: Looked) -> None:
    """Keep what the network saw and said, but not the scan."""
    seen, scores = looked.seen, looked.scores
    temporary = path.with_name(f".{path.name}")
    np.savez(
        temporary,
        image=(seen.image * 65535).astype(np.uint16),
        affine=seen.affine,
        box=np.array([seen.box_start, seen.box_stop]),
        body=seen.body,
        kept=scores.kept.transpose(2, 1, 0, 3),
        scores=scores.scores.transpose(2, 1, 0, 3),
        windows=looked.windows,
    )
    temporary.rename(path)


def load_looked(path: Path, scan: Volume) -> Looked:
    """What ``save_looked`` kept."""
    with np.load(path) as kept:
        start, stop = (tuple(int(v) for v in row) for row in kept["box"])
        image = kept["image"].astype(np.float32) / 65535
        seen = Preprocessed(image, kept["affine"], start, stop, kept["body"])  # type: ignore[arg-type]
        best = np.ascontiguousarray(kept["kept"])
        scores = ScoreMap(
            np.ascontiguousarray(best[..., 0]).transpose(2, 1, 0),
            best.transpose(2, 1, 0, 3),
            np.ascontiguousarray(kept["scores"]).transpose(2, 1, 0, 3),
        )
        return Looked(scan, seen, scores, int(kept["windows"]))


# --- planted failures --------------------------------------------------------------------------------------------


def planted(scores: ScoreMap, channels: int, rng: np.random.Generator) -> ScoreMap:
    """A network that fails: some structures swapped, grown, worn away, cut, moved or frayed, more or less surely."""
    kept = scores.kept.transpose(2, 1, 0, 3).copy()
    behind = scores.scores.transpose(2, 1, 0, 3).copy()
    sizes = np.bincount(kept[..., 0].ravel(), minlength=channels)
    there = np.flatnonzero(sizes[1:] > 60) + 1
    for channel in rng.permutation(there)[: rng.integers(2, 7)]:
        which = rng.integers(7)
        mask = kept[..., 0] == channel
        if not mask.any():
            continue
        box = _around(mask, 14)
        inside, best = mask[box], kept[box]
        scale = behind[box]
        if which == 0:
            _swap(best, inside, channel, rng)
        elif which == 1:
            reach = ndimage.binary_dilation(inside, _DISK, iterations=int(rng.integers(1, 6)))
            lean = rng.random() < 0.6
            _give(best, scale, reach & ~inside & ((best[..., 0] > 0) if lean else True), channel, rng)
        elif which == 2:
            core = ndimage.binary_erosion(inside, _DISK, iterations=int(rng.integers(1, 5)))
            _take(best, scale, inside & ~core, channel, rng)
        elif which == 3:
            planes = np.flatnonzero(inside.any(axis=(1, 2)))
            cut = planes[int(len(planes) * rng.uniform(0.2, 0.8))]
            gone = inside.copy()
            gone[:cut] = False
            if rng.random() < 0.5:
                gone = inside & ~gone
            _take(best, scale, gone, channel, rng)
        elif which == 4:
            shift = tuple(int(v) for v in rng.integers(-7, 8, 2))
            moved = np.roll(inside, shift, (1, 2))
            _take(best, scale, inside & ~moved, channel, rng)
            _give(best, scale, moved & ~inside, channel, rng)
        elif which == 5:
            field = ndimage.gaussian_filter(rng.normal(size=inside.shape), (1, 2.5, 2.5))
            rough = np.abs(field) > rng.uniform(0.4, 1.2) * field.std()
            near = ndimage.binary_dilation(inside, _DISK, iterations=4)
            _take(best, scale, inside & rough, channel, rng)
            _give(best, scale, near & ~inside & (field > rng.uniform(0.5, 1.5) * field.std()), channel, rng)
        else:
            near = ndimage.binary_dilation(inside, _DISK, iterations=10)
            others = np.unique(best[..., 0][near & (best[..., 0] > 0) & ~inside])
            if len(others):
                victim = int(rng.choice(others))
                _give(best, scale, (best[..., 0] == victim) & near, channel, rng)
    first = np.ascontiguousarray(kept[..., 0])
    return ScoreMap(first.transpose(2, 1, 0), kept.transpose(2, 1, 0, 3), behind.transpose(2, 1, 0, 3))


_DISK = ndimage.generate_binary_structure(3, 1) & np.array([0, 1, 0], bool)[:, None, None]


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice]:
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append(slice(max(0, hit[0] - margin), hit[-1] + 1 + margin))
    return sides[0], sides[1], sides[2]


def _swap(best: NDArray[np.uint8], inside: NDArray[np.bool_], channel: int, rng: np.random.Generator) -> None:
    near = ndimage.binary_dilation(inside, _DISK, iterations=3) & ~inside
    counts = np.bincount(best[..., 0][near], minlength=2)
    counts[[0, channel if channel < len(counts) else 0]] = 0
    if not counts.any():
        return
    other = int(counts.argmax())
    planes = np.zeros(len(best), bool)
    a, b = sorted(rng.integers(0, len(best) + 1, 2))
    planes[a:b] = True
    if rng.random() < 0.4:
        planes[:] = True
    part = best[planes]
    table = np.arange(256, dtype=np.uint8)
    table[channel], table[other] = other, channel
    best[planes] = table[part]


def _give(
    best: NDArray[np.uint8], scale: NDArray[np.uint8], where: Any, channel: int, rng: np.random.Generator
) -> None:
    """Put a channel first, the former best second, by a gap that varies over the place."""
    where = np.asarray(where) & (best[..., 0] != channel)
    former = best[where]
    gap = np.clip(rng.gamma(2.0, rng.uniform(0.3, 2.0), len(former)) * 16, 1, 254).astype(np.uint8)
    new = np.zeros_like(former)
    new[:, 0], new[:, 1] = channel, former[:, 0]
    score = np.zeros_like(former)
    score[:, 0], score[:, 1] = 255, 255 - gap
    best[where], scale[where] = new, score


def _take(
    best: NDArray[np.uint8], scale: NDArray[np.uint8], where: NDArray[np.bool_], channel: int, rng: np.random.Generator
) -> None:
    """Let the second best win where a channel was first."""
    runner = np.where(scale[..., 1] > 0, best[..., 1], 0)
    for other in np.unique(runner[where]):
        if other != channel:
            _give(best, scale, where & (runner == other), int(other), rng)


# --- structures with their truth ----------------------------------------------------------------------------------


def items_of(job: Job, cache: Path) -> list[tuple[str, Evidence, Sections, NDArray[np.float64], NDArray[np.bool_]]]:
    """All judged structures of a run: plain, then with planted failures (never of test scans)."""
    path = cache / f"{job.name}.npz"
    ct, truth = volumes_of(job)
    looked = load_looked(path, ct)
    info = load_bundle(job.weights).info
    rng = np.random.default_rng(sum(map(ord, job.name)))
    found = []
    for number in range(1 if job.kind == "test" else 2):
        scores = looked.scores if number == 0 else planted(looked.scores, len(info.classes), rng)
        labelled = label_scores(scores, looked.seen, info.classes, info.preprocessing)
        if job.scan == "hip":
            restored = on_scan_grid(labelled.labels, scores, looked.seen, channel_of_label(info.classes), ct)
            sections, dice, whole = hip_sections(labelled.evidence, restored, truth)
        elif job.kind == "synthetic":
            sections, dice, whole = full_sections(labelled, looked.seen, truth, rng)
        else:
            restored = on_scan_grid(labelled.labels, scores, looked.seen, channel_of_label(info.classes), ct)
            sections, dice, whole = drawn_sections(labelled.evidence, restored, truth)
        found.append(("plain" if number == 0 else "planted", labelled.evidence, sections, dice, whole))
    return found


def full_sections(
    labelled: Labelled, seen: Preprocessed, truth: Volume, rng: np.random.Generator
) -> tuple[Sections, NDArray[np.float64], NDArray[np.bool_]]:
    """Of a truth that is known everywhere, on the network's grid; whole structures, then two sections of each."""
    centres = [np.arange(n) for n in labelled.labels.shape]
    to_truth = np.linalg.inv(truth.affine) @ seen.affine
    at = [
        np.clip(np.round(centres[a] * to_truth[a, a] + to_truth[a, 3]).astype(int), 0, truth.shape[a] - 1)
        for a in range(3)
    ]
    true = truth.array[np.ix_(*at)]
    planes, rows_n = true.shape[2], len(LABELS)
    table = np.full(256, rows_n)
    table[[label.value for label in LABELS]] = np.arange(rows_n)
    place = np.arange(planes)[None, None, :]

    def count(values: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
        index = (table[values] * planes + place)[where]
        return np.bincount(index, minlength=(rows_n + 1) * planes).reshape(-1, planes)[:rows_n].astype(float)

    said, real = count(labelled.labels, labelled.labels > 0), count(true, true > 0)
    both = count(true, (true > 0) & (true == labelled.labels))
    rows = labelled.evidence.present()
    keep, masks, dice, whole = [], [], [], []
    for row in rows:
        keep.append(row), masks.append(np.ones(planes, bool)), whole.append(True)
        dice.append(2 * both[row].sum() / (said[row].sum() + real[row].sum()))
        held = np.flatnonzero(said[row] >= 8)
        for k in rng.permutation(held)[:2]:
            mask = np.zeros(planes, bool)
            mask[k] = True
            keep.append(row), masks.append(mask), whole.append(False)
            dice.append(2 * both[row, k] / (said[row, k] + real[row, k]))
    return Sections(np.array(keep), np.array(masks)), np.array(dice), np.array(whole)


def drawn_sections(
    evidence: Evidence, said: Volume, truth: Volume, least: int = 25
) -> tuple[Sections, NDArray[np.float64], NDArray[np.bool_]]:
    """Of a truth drawn in some slices: whole structures against all their drawn sections, then each section."""
    sums: dict[int, NDArray[np.float64]] = {}
    sections: list[tuple[int, int, float]] = []
    inverse = np.linalg.inv(evidence.affine)
    for k in np.flatnonzero((truth.array != UNLABELLED).any(axis=(0, 1))):
        mm = truth.affine @ np.array([0, 0, k, 1.0])
        plane = int(np.clip(round(float((inverse @ mm)[2])), 0, evidence.counts.shape[1] - 1))
        for side, mask in _halves(said.array[:, :, k]):
            known = (truth.array[:, :, k] != UNLABELLED) & mask
            p = np.bincount(said.array[:, :, k][known] % 100, minlength=30)
            t = np.bincount(truth.array[:, :, k][known] % 100, minlength=30)
            same = truth.array[:, :, k] % 100 == said.array[:, :, k] % 100
            both = np.bincount(truth.array[:, :, k][known & same] % 100, minlength=30)
            for class_id in range(1, 30):
                if max(p[class_id], t[class_id]) < least:
                    continue
                row = side * 29 + class_id - 1
                sums[row] = sums.get(row, np.zeros(3)) + np.array([both[class_id], p[class_id], t[class_id]])
                if p[class_id] and evidence.counts[row, plane, 0] > 0:
                    sections.append((row, plane, 2 * both[class_id] / (p[class_id] + t[class_id])))
    planes = evidence.counts.shape[1]
    there = set(evidence.present().tolist())
    keep, masks, dice, whole = [], [], [], []
    for row, (both_n, p_n, t_n) in sums.items():
        if row in there:
            keep.append(row), masks.append(np.ones(planes, bool)), whole.append(True)
            dice.append(2 * both_n / (p_n + t_n))
    for row, plane, value in sections:
        mask = np.zeros(planes, bool)
        mask[plane] = True
        keep.append(row), masks.append(mask), whole.append(False), dice.append(value)
    shape = (len(keep), planes)
    return (
        Sections(np.array(keep, np.int64), np.array(masks, bool).reshape(shape)),
        np.array(dice),
        np.array(whole, bool),
    )


def _halves(plane: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Which side each half of a slice is: by the labels, cut half way between those of the two sides."""
    everywhere = np.ones(plane.shape, bool)
    at = np.broadcast_to(np.arange(plane.shape[0])[:, None], plane.shape)
    right, left = (plane > 100) & (plane < 200), (plane > 200) & (plane < 255)
    if right.sum() > 50 and left.sum() > 50:
        middle = (at[right].mean() + at[left].mean()) / 2
        yield 0, at > middle
        yield 1, at <= middle
    elif right.any() or left.any():
        yield (0 if right.sum() >= left.sum() else 1), everywhere
    else:
        yield 2, everywhere


HIP_CLASSES: Final = {
    "gluteus_maximus": 5, "gluteus_medius": 6, "gluteus_minimus": 7, "iliacus": 8, "obturator_externus": 9,
    "obturator_internus": 10, "pectineus": 11, "piriformis": 12, "psoas": 13, "biceps_femoris": 15, "gracilis": 16,
    "rectus_femoris": 17, "sartorius": 18, "semimembranosus": 19, "semitendinosus": 20, "tensor_fasciae_latae": 21,
    "vastus_medialis": 23, "rectus_abdominis": 26, "abdominal_oblique": 28, "femur": 2, "hip_bone": 1,
}  # fmt: skip
"""Classes of the reference of Pelvic-Ref-005 that stand for one structure of ours; its adductors and its vastus
lateralis with intermedius are joined, and left out here."""


def hip_sections(
    evidence: Evidence, said: Volume, truth: Volume
) -> tuple[Sections, NDArray[np.float64], NDArray[np.bool_]]:
    """Of the hip CT drawn by others, without sides: a structure of ours on either side against its half of theirs."""
    at = np.arange(said.shape[0])[:, None, None]
    values = said.array
    right, left = (values > 100) & (values < 200), values > 200
    middle = ((at * right).sum() / right.sum() + (at * left).sum() / left.sum()) / 2
    planes = evidence.counts.shape[1]
    there = set(evidence.present().tolist())
    keep, dice = [], []
    joined = values % 100 == BY_KEY["iliopsoas"].class_id
    for key, number in HIP_CLASSES.items():
        for side, half in ((0, at > middle), (1, at <= middle)):
            row = side * 29 + BY_KEY[key].class_id - 1
            t = (truth.array == number) & half
            p = (values % 100 == BY_KEY[key].class_id) & half
            if key in ("iliacus", "psoas"):
                p = p | (joined & t)  # their two are our three: the joined part counts for what they say there
            if t.sum() < 1000 or row not in there:
                continue
            keep.append(row)
            dice.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    return Sections(np.array(keep), np.ones((len(keep), planes), bool)), np.array(dice), np.ones(len(keep), bool)


# --- fitting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Everything that was judged, stacked; ``group`` numbers the scans (all views of one are one group)."""

    evidence: list[Evidence]
    sections: list[Sections]
    dice: NDArray[np.float64]
    whole: NDArray[np.bool_]
    group: NDArray[np.int64]
    kind: NDArray[np.str_]
    source: NDArray[np.str_]
    view: NDArray[np.str_]


def count(sources: dict[str, Any], cache: Path, part: tuple[int, int]) -> None:
    """Judge what was looked at, where the cache lacks it; kept beside it."""
    for number, job in enumerate(jobs_of(sources)):
        kept = cache / f"{job.name}.items.pickle"
        if kept.exists() or not (cache / f"{job.name}.npz").exists() or number % abs(part[1]) != part[0]:
            continue
        temporary = kept.with_name(f".{kept.name}")
        temporary.write_bytes(pickle.dumps(items_of(job, cache)))
        temporary.rename(kept)
        print(job.name, "judged", flush=True)


def gather_rows(sources: dict[str, Any], cache: Path, only: str = "") -> tuple[Rows, list[str]]:
    """All runs that the cache holds, or those of one kind. What was counted of a run is kept beside it."""
    evidence, sections, parts, scans = [], [], [], []
    for job in jobs_of(sources):
        if only and job.kind != only:
            continue
        if not (cache / f"{job.name}.npz").exists():
            print("not looked at yet:", job.name)
            continue
        kept = cache / f"{job.name}.items.pickle"
        if not kept.exists():
            print("not judged yet:", job.name)
            continue
        if job.scan not in scans:
            scans.append(job.scan)
        main = job.weights == Path(sources["weights"])
        for source, found, judged, dice, whole in pickle.loads(kept.read_bytes()):
            if not len(dice):
                continue
            evidence.append(found)
            sections.append(judged)
            n = len(dice)
            parts.append(
                (dice, whole, np.full(n, scans.index(job.scan)), np.full(n, job.kind), np.full(n, source),
                 np.full(n, job.view if main or job.kind == "test" else "older"))
            )  # fmt: skip
    stacked = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Rows(evidence, sections, *stacked), scans  # type: ignore[arg-type]


def find_population(rows: Rows, good: float = 0.85) -> Population:
    """What is usual, from structures that agree well with their truth; test scans left out."""
    raw: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*USUAL, "level")}
    contact, classes, weight, start = [], [], [], 0
    for found, judged in zip(rows.evidence, rows.sections, strict=True):
        n = len(judged.rows)
        part = slice(start, start + n)
        start += n
        use = (rows.dice[part] >= good) & (rows.kind[part] != "test") & (rows.source[part] == "plain")
        use &= ~np.isin(rows.view[part], ("upside_down", "back_to_front"))
        if not use.any():
            continue
        values = raw_features(found, judged)
        for name, kept in raw.items():
            kept.append(values[name][use])
        contact.append(contact_shares(found, judged)[use])
        classes.append(CLASS_OF_ROW[judged.rows][use])
        weight.append(np.where(rows.kind[part] == "train", 2.0, 1.0)[use])
    known = {name: np.concatenate(values) for name, values in raw.items()}
    kind, share, heavy = np.concatenate(classes), np.concatenate(contact), np.concatenate(weight)
    curve = np.full((30, len(USUAL), 4), np.nan)
    usual_contact = np.full((30, share.shape[1]), 1.0 / share.shape[1])
    usual_dice = np.full(30, 0.8)
    natural = (rows.kind != "test") & (rows.source == "plain")
    every = np.concatenate([CLASS_OF_ROW[s.rows] for s in rows.sections])
    for class_id in range(1, 30):
        here = kind == class_id
        seen = natural & (every == class_id)
        usual_dice[class_id] = (rows.dice[seen].sum() + 0.8 * 5) / (seen.sum() + 5)
        if here.sum() < 15:
            continue
        usual_contact[class_id] = np.average(share[here], axis=0, weights=heavy[here])
        t = np.nan_to_num(known["level"][here]) / 100
        design = np.stack([np.ones_like(t), t, t * t], axis=1)
        for number, name in enumerate(USUAL):
            y, w = known[name][here], heavy[here]
            fine = np.isfinite(y)
            if fine.sum() < 15:
                continue
            a, b, w = design[fine], y[fine], w[fine].copy()
            for _ in range(3):  # outliers lose weight
                c = np.linalg.solve((a * w[:, None]).T @ a + np.diag([1e-6, 0.5, 0.5]), (a * w[:, None]).T @ b)
                rest = b - a @ c
                sd = max(1.4826 * float(np.median(np.abs(rest))), 1e-3)
                w = heavy[here][fine] / (1 + (rest / (3 * sd)) ** 2)
            curve[class_id, number] = (*c, max(sd, 0.02 if name not in ("mean_hu", "sd_hu") else 1.0))
    return Population(curve, usual_contact, usual_dice, find_presence(rows))


def find_presence(rows: Rows, least_slices: int = 8) -> NDArray[np.float64]:
    """How often each structure is seen at each level of bodies that lie as they should; test scans left out."""
    total, held = np.zeros((2, 30, len(LEVELS_MM)))
    start = 0
    for found, judged in zip(rows.evidence, rows.sections, strict=True):
        first = start
        start += len(judged.rows)
        if rows.kind[first] == "test" or rows.source[first] != "plain" or rows.view[first] not in UPRIGHT:
            continue
        slices, with_it = count_presence(found)
        total += slices
        held += with_it
    return np.where(total >= least_slices, held / np.maximum(total, 1), 0.0)


UPRIGHT: Final = ("plain", "crop")
"""Views without a spoilt image: a structure that is missed there is missed seldom."""


def all_features(rows: Rows, population: Population) -> NDArray[np.float64]:
    """Features of everything."""
    return np.concatenate([features(e, s, population) for e, s in zip(rows.evidence, rows.sections, strict=True)])


def _weights(rows: Rows) -> NDArray[np.float64]:
    """How much each counts: drawn on real scans more than grown, whole structures more than sections."""
    weight = np.where(rows.kind == "train", 2.0, 1.0) * np.where(rows.whole, 2.0, 1.0)
    return weight * np.where(rows.source == "planted", 0.25, 1.0)


def _inputs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How to standardise the features: see ``agreement.Model``."""
    missing = np.nanmedian(values, axis=0)
    least, most = np.nanpercentile(values, [1, 99], axis=0)
    filled = np.clip(np.where(np.isnan(values), missing, values), least, most)
    return np.stack([missing, least, most, filled.mean(axis=0), filled.std(axis=0) + 1e-9], axis=1)


def _fitted(
    values: NDArray[np.float64], wrong: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inputs and weights of a logistic regression, held back much: the scans are few, and alike inside."""
    from sklearn.linear_model import LogisticRegression

    inputs = _inputs(values)
    fitted = LogisticRegression(C=HELD_BACK, max_iter=200).fit(
        standardised(values, inputs), wrong, sample_weight=weight
    )
    return inputs, fitted.coef_[0]


HELD_BACK: Final = 0.003


def fit(sources: dict[str, Any], cache: Path, output: Path, results: Path | None) -> None:
    """Fit on everything but the test scans, set the chances on scans held out in turn, write, and score the test."""
    rows, scans = gather_rows(sources, cache)
    population = find_population(rows)
    values = all_features(rows, population)
    learn, weight, wrong = rows.kind != "test", _weights(rows), rows.dice < WRONG_BELOW
    print(f"{learn.sum()} rows to learn from, {wrong[learn].mean():.2f} of them wrong")
    # Out of fold: no view of a scan is judged by weights that saw another view of it.
    total = np.full(len(learn), np.nan)
    groups = np.unique(rows.group[learn])
    fold = {int(g): n % FOLDS for n, g in enumerate(np.random.default_rng(0).permutation(groups))}
    of_fold = np.array([fold.get(int(g), -1) for g in rows.group])
    for number in range(FOLDS):
        train, test = learn & (of_fold != number), learn & (of_fold == number)
        inputs, weights = _fitted(values[train], wrong[train], weight[train])
        total[test] = standardised(values[test], inputs) @ weights
    natural = learn & rows.whole & (rows.source == "plain")
    natural &= ~np.isin(rows.view, ("upside_down", "back_to_front"))
    for title, chosen in (("all", natural), ("of these weights", natural & (rows.view != "older"))):
        own = -values[chosen, INPUTS.index("whole_own")]
        print(
            f"out of fold, natural structures, {title}: {chosen.sum()}, {wrong[chosen].sum()} wrong: AUROC"
            f" {_auroc(total[chosen], wrong[chosen]):.3f}, of plain confidence {_auroc(own, wrong[chosen]):.3f}"
        )
    slope, offset = _platt(total[natural], wrong[natural], weight[natural])
    band = _band(total[natural], rows.dice[natural])
    if results:
        upright = learn & rows.whole & (rows.source == "plain")
        write_folds(results / FOLDS_FILE, rows, scans, upright, total, (slope, offset, band))
    facts = {
        "inputs": list(INPUTS),
        "slope": slope,
        "offset": offset,
        "weights_sha256": weights_hash(load_bundle(Path(sources["weights"]))),
        "scans": len(groups),
        "rows": int(learn.sum()),
    }
    inputs, weights = _fitted(values[learn], wrong[learn], weight[learn])
    arrays = {"inputs": inputs, "weights": weights, "band": band, "facts": np.array(json.dumps(facts))}
    arrays |= {"curve": population.curve, "contact": population.contact, "usual_dice": population.usual_dice}
    arrays["presence"] = population.presence
    with atomic_path(output) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    score(sources, cache, output, results)


def score(sources: dict[str, Any], cache: Path, output: Path, results: Path | None) -> None:
    """Try a finished model on the test scans, if they were looked at."""
    if not any((cache / f"{job.name}.items.pickle").exists() for job in jobs_of(sources) if job.kind == "test"):
        print("No test scan was looked at and counted: nothing to score.")
        return
    rows, scans = gather_rows(sources, cache, only="test")
    model = load_model(output)
    score_test(rows, scans, all_features(rows, model.population), model, results)


FOLDS: Final = 3
FOLDS_FILE: Final = "agreement_folds.csv"
"""Structures of the scans that the fit learnt from, judged by weights that had not seen the patient."""


def write_folds(
    path: Path,
    rows: Rows,
    scans: list[str],
    chosen: NDArray[np.bool_],
    total: NDArray[np.float64],
    read_off: tuple[float, float, NDArray[np.float64]],
) -> None:
    """Write what was expected out of fold, for ``benchmarks/review_loop.py``."""
    slope, offset, band = read_off
    expected = np.interp(total, band[:, 0], band[:, 1])
    wrong = 1.0 / (1.0 + np.exp(-(slope * total + offset)))
    label = np.concatenate([s.rows for s in rows.sections])
    lines = ["scan,kind,view,label,dice,expected,wrong"]
    for n in np.flatnonzero(chosen):
        names = (scans[rows.group[n]], rows.kind[n], rows.view[n], label_name(int(label[n])))
        lines.append(",".join((*names, *(f"{v:.4f}" for v in (rows.dice[n], expected[n], wrong[n])))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _band(total: NDArray[np.float64], dice: NDArray[np.float64], knots: int = 12) -> NDArray[np.float64]:
    """Mean, 10th and 90th percentile of the Dice around each of some sums, none rising with the sum."""
    order = np.argsort(total)
    width = max(30, len(total) // 6)
    rows = []
    for middle in np.linspace(0, len(total) - 1, knots).round().astype(int):
        first = int(np.clip(middle - width // 2, 0, max(0, len(total) - width)))
        here = order[first : first + width]
        rows.append((total[here].mean(), dice[here].mean(), *np.quantile(dice[here], [0.1, 0.9])))
    band = np.array(rows)
    band[:, 1:] = np.minimum.accumulate(band[:, 1:], axis=0)
    return band[np.unique(band[:, 0], return_index=True)[1]]


def _platt(odds: NDArray[np.float64], wrong: NDArray[np.bool_], weight: NDArray[np.float64]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=10.0).fit(odds[:, None], wrong, sample_weight=weight)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _auroc(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    hits = int(wrong.sum())
    if not 0 < hits < len(wrong):
        return float("nan")
    ranks = rankdata(score)  # by ranks: a bootstrap calls this thousands of times
    return float((ranks[wrong].sum() - hits * (hits + 1) / 2) / (hits * (len(wrong) - hits)))


def score_test(rows: Rows, scans: list[str], values: NDArray[np.float64], model: Model, results: Path | None) -> None:
    """Print, and write, how well the finished model does on scans that nothing was fitted on."""
    test = rows.kind == "test"
    judged = model.judge_features(values[test])
    rows_of = np.concatenate([s.rows for s in rows.sections])[test]
    table = []
    for n, (dice, whole, group) in enumerate(zip(rows.dice[test], rows.whole[test], rows.group[test], strict=True)):
        table.append(
            {
                "scan": scans[group],
                "label": label_name(int(rows_of[n])),
                "whole": bool(whole),
                "dice": round(float(dice), 4),
                "expected": round(float(judged[n, 0]), 4),
                "low": round(float(judged[n, 1]), 4),
                "high": round(float(judged[n, 2]), 4),
                "wrong": round(float(judged[n, 3]), 4),
                "confidence": round(float(values[test][n, INPUTS.index("whole_own" if whole else "own")]), 4),
            }
        )
    text = json.dumps(summarise(table), indent=1)
    print(text)
    if results:
        results.mkdir(parents=True, exist_ok=True)
        (results / "agreement_test.json").write_text(text + "\n", encoding="utf-8")
        lines = [",".join(table[0]), *(",".join(str(v) for v in row.values()) for row in table)]
        (results / "agreement_test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def summarise(table: list[dict[str, Any]]) -> dict[str, Any]:
    """AUROC with intervals by bootstrap over scans, calibration error and coverage."""
    out = {}
    for title, chosen in (
        ("drawn, structures", [r for r in table if r["whole"] and r["scan"] != "hip"]),
        ("drawn, sections", [r for r in table if not r["whole"] and r["scan"] != "hip"]),
        ("hip, structures", [r for r in table if r["scan"] == "hip"]),
        ("all, structures", [r for r in table if r["whole"]]),
    ):
        if not chosen:
            continue
        dice, wrong_p, expected, low, high, sure = (
            np.array([r[key] for r in chosen], float)
            for key in ("dice", "wrong", "expected", "low", "high", "confidence")
        )
        wrong = dice < WRONG_BELOW
        names = np.array([r["scan"] for r in chosen])
        if title.startswith("hip"):
            names = np.array([r["label"] for r in chosen])
        bins = np.clip((wrong_p * 10).astype(int), 0, 9)
        ece = sum(abs(wrong_p[bins == b].mean() - wrong[bins == b].mean()) * (bins == b).mean() for b in set(bins))
        out[title] = {
            "n": len(chosen),
            "wrong": int(wrong.sum()),
            "auroc": [round(v, 3) for v in _with_interval(wrong_p, wrong, names)],
            "auroc_expected": round(_auroc(-expected, wrong), 3),
            "auroc_confidence": [round(v, 3) for v in _with_interval(-sure, wrong, names)],
            "clear": _clear(wrong_p, dice, names),
            "ece": round(float(ece), 3),
            "coverage": round(float(((dice >= low) & (dice <= high)).mean()), 3),
            "mean_width": round(float((high - low).mean()), 3),
            "mean_error": round(float(np.abs(dice - expected).mean()), 3),
            "told_wrong": int((wrong_p >= 0.5).sum()),
            "told_wrong_rightly": int(((wrong_p >= 0.5) & wrong).sum()),
        }
    return out


CLEAR: Final = 0.1
"""A Dice this far from the limit is clearly right or wrong, whichever slices were drawn."""


def _clear(
    chance: NDArray[np.float64], dice: NDArray[np.float64], names: NDArray[np.str_]
) -> dict[str, int | float | list[float]]:
    """AUROC where the Dice is clearly above or below the limit, with its interval, and where it is not."""
    far = np.abs(dice - WRONG_BELOW) >= CLEAR
    wrong = dice < WRONG_BELOW
    return {
        "n": int(far.sum()),
        "wrong": int(wrong[far].sum()),
        "auroc": [round(v, 3) for v in _with_interval(chance[far], wrong[far], names[far])],
        "auroc_of_the_rest": round(_auroc(chance[~far], wrong[~far]), 3),
    }


def _with_interval(
    score: NDArray[np.float64], wrong: NDArray[np.bool_], names: NDArray[np.str_]
) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    every = np.unique(names)
    places = [np.flatnonzero(names == name) for name in every]
    drawn = []
    for _ in range(1000):
        chosen = np.concatenate([places[n] for n in rng.integers(0, len(every), len(every))])
        drawn.append(_auroc(score[chosen], wrong[chosen]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return _auroc(score, wrong), float(low), float(high)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["look", "count", "fit", "score", "all"])
    parser.add_argument("sources", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="number and count of processes that look")
    parser.add_argument("--output", "-o", type=Path, default=MODEL_FILE)
    parser.add_argument("--results", type=Path, help="folder for the table of test results and the figures")
    given = parser.parse_args()
    said = json.loads(given.sources.read_text(encoding="utf-8"))
    if given.step in ("look", "all"):
        look(said, given.cache, tuple(given.part))
    if given.step in ("count", "all"):
        count(said, given.cache, tuple(given.part))
    if given.step in ("fit", "all"):
        fit(said, given.cache, given.output, given.results)
    if given.step == "score":
        score(said, given.cache, given.output, given.results)
