"""Does `vastus check-labels` find planted errors?

    python benchmarks/bench_label_noise.py DATA [--predictions FOLDER] [-o OUT] [--seed 1] [--no-model]

DATA is a labelled set in nnU-Net layout whose labels are true (`vastus synth` makes one). Into each scan one error of
each kind is planted: the names of two neighbours swapped, one to three slices missing, a boundary shifted by 3 to 6 mm
(grown, shrunk or moved), left and right swapped, an island. The check sees the spoilt labels only.

An error counts as found when one of its structures is in the list. A finding is false when the planting left its
structure as it was (Dice of spoilt and true labels at least 0.98). The clean set is checked too: all of its findings
are false. Predictions default to those of the shipped weights, made once into OUT.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from label_errors import ErrorKind, Planted, plant
from vastus.cli.check_labels import _from_folder, _from_weights
from vastus.curation.findings import Finding, propose
from vastus.curation.label_noise import CheckOptions, LabelledCase, check_labels, find_cases
from vastus.io.atomic import ensure_folder, write_text
from vastus.io.labels import read_labels, write_labels
from vastus.volume import Volume, to_ras

SAME_DICE = 0.98


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--no-model", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("label-noise"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clean", action="store_true", help="check the true labels too")
    arguments = parser.parse_args()
    out = ensure_folder(arguments.output)
    cases = find_cases(arguments.data)
    if arguments.no_model:
        predict = None
    elif arguments.predictions:
        predict = _from_folder(arguments.predictions)
    else:
        predict = _from_weights(None, out / "model", None)
    spoilt, errors = spoil(cases, out / "spoilt", arguments.seed)
    options = CheckOptions(predict, pictures=False)
    start = time.perf_counter()
    findings = check_labels(spoilt, out / "check", options, on_progress=lambda p: print(p, file=sys.stderr, flush=True))
    seconds = time.perf_counter() - start
    result = score(cases, spoilt, errors, findings) | {"seconds_a_scan": seconds / len(cases), "scans": len(cases)}
    result["proposals"] = proposals(cases, spoilt, errors, findings, out / "check")
    if arguments.clean:
        clean = check_labels(cases, out / "clean", options)
        result["clean_findings"] = len(clean)
        result["clean_kinds"] = dict(Counter(f.kind.value for f in clean))
    write_text(out / "result.json", json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def spoil(
    cases: tuple[LabelledCase, ...], folder: Path, seed: int
) -> tuple[list[LabelledCase], dict[str, list[Planted]]]:
    ensure_folder(folder)
    spoilt, errors = [], {}
    for number, case in enumerate(cases):
        labels = to_ras(read_labels(case.labels_path))
        rng = np.random.default_rng([seed, number])
        array, planted = plant(
            labels.array, labels.spacing_mm, [ErrorKind(k) for k in rng.permutation(list(ErrorKind))], rng
        )
        path = folder / f"{case.name}.nii.gz"
        write_labels(labels.with_array(array), path)
        spoilt.append(LabelledCase(case.name, case.scan_path, path))
        errors[case.name] = planted
    return spoilt, errors


def dice(a: Volume, b: Volume, value: int) -> float:
    one, other = a.array == value, b.array == value
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def score(
    cases: tuple[LabelledCase, ...],
    spoilt: list[LabelledCase],
    errors: dict[str, list[Planted]],
    findings: tuple[Finding, ...],
) -> dict[str, object]:
    listed = defaultdict(set)
    for f in findings:
        listed[f.case].add(f.value)
    found: dict[str, list[bool]] = defaultdict(list)
    missed = []
    for case, planted in errors.items():
        for error in planted:
            hit = bool(listed[case] & set(error.values))
            found[error.kind.value].append(hit)
            if error.kind is ErrorKind.BOUNDARY:
                found["boundary " + error.detail.split()[0]].append(hit)
            if not hit:
                missed.append(f"{case}: {error.kind.value}, {error.detail} {error.values}")
    false = []
    structures = 0
    for case, bad in zip(cases, spoilt, strict=True):
        true, now = to_ras(read_labels(case.labels_path)), to_ras(read_labels(bad.labels_path))
        structures += len(np.unique(true.array)) - 1
        planted_values = {v for e in errors[case.name] for v in e.values}
        for f in (f for f in findings if f.case == case.name):
            if f.value not in planted_values and dice(true, now, f.value) >= SAME_DICE:
                false.append(f"{f.case}: {f.name}, {f.kind.value} {f.score:.1f}: {f.detail}")
    kinds = [k.value for k in ErrorKind]
    total = sum(len(found[k]) for k in kinds)
    return {
        "planted": total,
        "found": sum(sum(found[k]) for k in kinds) / total,
        "found_by_kind": {k: f"{sum(v)}/{len(v)}" for k, v in sorted(found.items())},
        "findings": len(findings),
        "false_findings": len(false),
        "false_share_of_findings": len(false) / max(1, len(findings)),
        "false_share_of_sound_structures": len(false) / structures,
        "missed": missed,
        "false": false,
    }


def proposals(
    cases: tuple[LabelledCase, ...],
    spoilt: list[LabelledCase],
    errors: dict[str, list[Planted]],
    findings: tuple[Finding, ...],
    check: Path,
) -> dict[str, str]:
    """Dice of the structure with the truth before and after its proposal, by the kind of the planted error."""
    before, after = defaultdict(list), defaultdict(list)
    for case, bad in zip(cases, spoilt, strict=True):
        kinds = {v: e.kind.value for e in errors[case.name] for v in e.values}
        mine = [f for f in findings if f.case == case.name and f.value in kinds and f.has_proposal]
        if not mine:
            continue
        true, now = read_labels(case.labels_path), read_labels(bad.labels_path)
        true = now.with_array(to_ras(true).array)
        for f in mine:
            before[kinds[f.value]].append(dice(true, now, f.value))
            after[kinds[f.value]].append(dice(true, propose(check, f.id, now), f.value))
    return {k: f"{np.mean(before[k]):.3f} -> {np.mean(after[k]):.3f} ({len(before[k])})" for k in sorted(before)}


if __name__ == "__main__":
    main()
