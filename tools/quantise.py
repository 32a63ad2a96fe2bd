"""Find out whether the network of a bundle may be computed in int8, and add what that needs to the bundle.

Calibrates (NNCF, post-training: the range of what goes into each convolution) on windows of training patients and
synthetic scans, then labels whole scans in float32 and in int8 and compares both with drawn labels of real CT (training
patients only) and with synthetic truth. Only if the mean Dice over the muscles falls by at most 0.003 and that of no
muscle by more than 0.01, on real and on synthetic scans, ``models/int8.json`` and the precision ``int8`` are added to
the bundle. The network's weights stay untouched.

    pip install nncf
    python tools/quantise.py BUNDLE --ct FOLDER [FOLDER ...] --synthetic FOLDER [--report FILE]

``--ct`` holds the CT of datasets/real-thigh (``SCAN_CT.nii.gz`` or ``SCAN.nii.gz``), ``--synthetic`` is a training
folder that the weights have not seen. Run it again after every training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_ID, MUSCLES
from vastus.inference.bundle import INFO_FILE, INT8_FILE, Bundle, BundleInfo, Precision, load_bundle, sha256_of
from vastus.inference.choices import PrecisionChoice, RuntimeName, RuntimeOptions
from vastus.inference.int8 import Ranges, write_ranges
from vastus.inference.predictor import Predictor, cut_windows
from vastus.inference.processor import processor_name
from vastus.inference.runtime_openvino import load_openvino, prepared_model
from vastus.io.atomic import write_text
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.preprocessing import preprocess
from vastus.volume import Volume, to_ras

MEAN_LOSS, MUSCLE_LOSS = 0.003, 0.01
LEAST_SECTION: Final = 25
"""Voxels of a drawn section that counts."""
LEAST_CHANNELS: Final = 24
"""Convolutions of fewer input channels stay in float32: they cost little, and what they see decides most."""
UNDRAWN: Final = 255
_WINDOWS_A_SCAN = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A scan with labels: drawn slices of a real one (the rest ``UNDRAWN``), or the whole truth of a synthetic one."""

    name: str
    scan: Path
    labels: Path
    real: bool


@dataclass
class Scores:
    """Dice and relative error of the area, by muscle, of every drawn section (or synthetic scan)."""

    dice: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    area_error: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, found: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> None:
        """Compare one section or scan; class ids without sides."""
        known = drawn != UNDRAWN
        for muscle in _MUSCLE_IDS:
            wanted, got = drawn == muscle, (found == muscle) & known
            size, own = int(wanted.sum()), int(got.sum())
            if size < LEAST_SECTION:
                continue
            self.dice[muscle].append(2.0 * int((wanted & got).sum()) / (size + own))
            self.area_error[muscle].append(abs(own - size) / size)


_MUSCLE_IDS = tuple(muscle.class_id for muscle in MUSCLES)


def main() -> None:
    """Calibrate, compare, and change the bundle if int8 is good enough."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--ct", type=Path, nargs="+", required=True)
    parser.add_argument("--real", type=Path, default=Path("datasets/real-thigh"))
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of scans: a quick look, which never changes the bundle")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ranges", type=Path, help="of an earlier calibration: only the comparison is made again")
    parser.add_argument("--report", type=Path, help="Markdown; default: printed")
    parser.add_argument(
        "--split", choices=("train", "test"), default="train", help="test: only reports, changes nothing"
    )
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    cases = [*_real_cases(options.real, options.ct, options.split), *_synthetic_cases(options.synthetic)]
    if options.only:
        cases = [case for case in cases if case.name in options.only]
    with tempfile.TemporaryDirectory() as name:
        trial = _trial_bundle(bundle, Path(name) / "trial")
        if options.ranges:
            shutil.copyfile(options.ranges, trial / INT8_FILE)
        else:
            write_ranges(trial / INT8_FILE, calibrate(bundle, cases))
        _name_int8(trial)
        text, good = compare(load_bundle(trial), cases, options.threads)
        if options.report:
            options.report.write_text(text, encoding="utf-8")
        print(text)
        if options.split == "test" or options.only:
            return
        if not good:
            sys.exit("int8 loses too much: the bundle stays as it is.")
        shutil.copyfile(trial / INT8_FILE, bundle.folder / INT8_FILE)
        _name_int8(bundle.folder)
        load_bundle(bundle.folder)


def _real_cases(real: Path, folders: list[Path], split: str) -> Iterator[Case]:
    for name in json.loads((real / "splits.json").read_text(encoding="utf-8"))[split]:
        tried = [
            folder / file for folder in folders for file in (f"{name}_CT.nii.gz", f"{name}_ct.nii.gz", f"{name}.nii.gz")
        ]
        scan = next((path for path in tried if path.is_file()), None)
        if scan is None:
            print(f"{name}: no CT of it, left out", file=sys.stderr)
            continue
        yield Case(name, scan, real / "labels" / f"{name}.nii.gz", True)


def _synthetic_cases(folder: Path) -> Iterator[Case]:
    for labels in sorted((folder / "labelsTr").glob("*.nii.gz")):
        name = labels.name.removesuffix(".nii.gz")
        yield Case(name, folder / "imagesTr" / f"{name}_0000.nii.gz", labels, False)


def calibrate(bundle: Bundle, cases: list[Case]) -> Ranges:
    """Find the range of what goes into each convolution, on windows of all cases drawn by chance."""
    load_openvino()
    import nncf

    windows = list(_windows(bundle, cases))
    model = prepared_model(bundle, Precision.FP32)
    others = sorted(
        {n.get_type_name() for n in model.get_ordered_ops()} - {"Convolution", "Constant", "Parameter", "Result"}
    )
    quantised = nncf.quantize(
        model,
        nncf.Dataset(windows, lambda window: window[None, None]),
        subset_size=len(windows),
        ignored_scope=nncf.IgnoredScope(types=others, validate=False),
    )
    ranges = {}
    for node in quantised.get_ordered_ops():
        if node.get_type_name() != "Convolution" or node.input_value(0).get_shape()[1] < LEAST_CHANNELS:
            continue
        source = node.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize":
            low, high = (float(source.input_value(i).get_node().get_data().ravel()[0]) for i in (1, 2))
            ranges[node.get_friendly_name()] = (low, high)
    print(f"{len(ranges)} convolutions in int8, from {len(windows)} windows", file=sys.stderr)
    return ranges


def _windows(bundle: Bundle, cases: list[Case]) -> Iterator[NDArray[np.float32]]:
    chance = np.random.default_rng(0)
    for case in cases:
        seen = preprocess(read_scan(case.scan).volume, bundle.info.preprocessing)
        found = list(cut_windows(seen, bundle.info))
        for index in sorted(chance.permutation(len(found))[:_WINDOWS_A_SCAN]):
            yield found[index]


def compare(bundle: Bundle, cases: list[Case], threads: int) -> tuple[str, bool]:
    """Label every case in float32 and in int8; a report, and whether int8 loses little enough."""
    tried = {
        choice: Predictor(bundle, RuntimeOptions(runtime=RuntimeName.OPENVINO, precision=choice, threads=threads))
        for choice in (PrecisionChoice.FP32, PrecisionChoice.INT8)
    }
    scores = {(choice, real): Scores() for choice in tried for real in (True, False)}
    for number, case in enumerate(cases, start=1):
        scan = read_scan(case.scan).volume
        drawn = _without_sides(to_ras(read_labels(case.labels, partly=case.real)))
        for choice, predictor in tried.items():
            labels = predictor.segment(scan).labels
            _add(scores[choice, case.real], _without_sides(to_ras(labels)), drawn, case.real)
        print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr, flush=True)
    lines = [f"{bundle.info.name} ({bundle.digest[:12]}), {processor_name() or platform.machine()}", ""]
    good = True
    for real in (True, False):
        part, fits = _table(scores[PrecisionChoice.FP32, real], scores[PrecisionChoice.INT8, real], real)
        lines += part
        good &= fits
    lines.append(
        f"int8 {'may' if good else 'may not'} be used: limits {MEAN_LOSS} in the mean, {MUSCLE_LOSS} in a muscle."
    )
    return "\n".join(lines) + "\n", good


def _without_sides(labels: Volume) -> NDArray[np.uint8]:
    values = labels.array
    return np.where(values == UNDRAWN, UNDRAWN, values % 100).astype(np.uint8)


def _add(scores: Scores, found: NDArray[np.uint8], drawn: NDArray[np.uint8], real: bool) -> None:
    if not real:
        scores.add(found, drawn)
        return
    for k in np.flatnonzero((drawn != UNDRAWN).any(axis=(0, 1))):
        scores.add(found[:, :, k], drawn[:, :, k])


def _table(before: Scores, after: Scores, real: bool) -> tuple[list[str], bool]:
    rows, losses = [], []
    for muscle in _MUSCLE_IDS:
        if not before.dice[muscle]:
            continue
        pair = [float(np.mean(one.dice[muscle])) for one in (before, after)]
        area = [float(np.mean(one.area_error[muscle])) for one in (before, after)]
        losses.append(pair[0] - pair[1])
        rows.append((BY_ID[muscle].english, len(before.dice[muscle]), *pair, *area))
    means = [float(np.mean([row[i] for row in rows])) for i in (2, 3, 4, 5)]
    rows.append(("**mean over muscles**", sum(int(row[1]) for row in rows), *means))
    title = "drawn sections of real CT" if real else "synthetic scans"
    lines = [
        f"| {title} | n | Dice fp32 | Dice int8 | loss | area error fp32 | area error int8 |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {n} | {c} | {a:.4f} | {b:.4f} | {a - b:+.4f} | {e:.2%} | {f:.2%} |" for n, c, a, b, e, f in rows),
        "",
    ]
    return lines, float(np.mean(losses)) <= MEAN_LOSS and max(losses) <= MUSCLE_LOSS


def _trial_bundle(bundle: Bundle, folder: Path) -> Path:
    shutil.copytree(bundle.folder, folder)
    return folder


def _name_int8(folder: Path) -> None:
    """Write the precision and the hash of the ranges into the bundle's description."""
    path = folder / INFO_FILE
    info = BundleInfo.from_json(path.read_text(encoding="utf-8"))
    files: Mapping[str, Any] = {**info.files, INT8_FILE: sha256_of(folder / INT8_FILE)}
    precisions = tuple(dict.fromkeys((*info.precisions, Precision.INT8)))
    write_text(path, dataclasses.replace(info, files=files, precisions=precisions).to_json())


if __name__ == "__main__":
    main()
