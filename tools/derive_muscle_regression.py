"""Make ``src/vastus/muscle_volume_regression.csv`` from its two sources.

    python tools/derive_muscle_regression.py SHARED

SHARED holds ``stats/handsfield2014.csv`` (volume_cm3 = slope * height_m * mass_kg + intercept, one leg; Handsfield et
al. 2014, as published in scale-muscle-strength, MIT) and ``atlas/`` (Visible Human meshes, Andreassen et al. 2022, CC
BY 4.0). The result has one row for each muscle of ours that has a volume model:

- ``handsfield2014``: the published line; heads that we label as one muscle are summed.
- ``handsfield2014_split``: psoas and iliacus, divided between our psoas, iliacus and iliopsoas at the level where the
  femoral head starts, in the proportion found in the atlas (mean of the legs).
- ``atlas_share``: not in the published table; the muscle's share of the regressed muscles' volume in the atlas
  (mean of the legs: two people, so an estimate and no regression).

Abdominal obliques, rectus abdominis and multifidus have neither: they get no row.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "src/vastus/muscle_volume_regression.csv"
FEMORAL_HEAD_RADIUS_MM = 23.0

# The two people whose hip muscles were measured whole; the third of a newer pack has them too thin.
PEOPLE = ("vhf", "vhm")
# Our key -> names in the published table.
REGRESSED: dict[str, tuple[str, ...]] = {
    "sartorius": ("sart",),
    "rectus_femoris": ("recfem",),
    "vastus_lateralis": ("vaslat",),
    "vastus_intermedius": ("vasint",),
    "vastus_medialis": ("vasmed",),
    "adductor_magnus": ("addmag",),
    "adductor_brevis": ("addbrev",),
    "adductor_longus": ("addlong",),
    "gracilis": ("grac",),
    "semitendinosus": ("semiten",),
    "semimembranosus": ("semimem",),
    "biceps_femoris": ("bflh", "bfsh"),
    "gluteus_maximus": ("glmax",),
    "gluteus_medius": ("glmed",),
    "gluteus_minimus": ("glmin",),
    "tensor_fasciae_latae": ("tfl",),
    "piriformis": ("piri",),
}
ATLAS_FILES = {"biceps_femoris": ("biceps_femoris_long", "biceps_femoris_short")}
SHARED_OUT = ("pectineus", "obturator_internus", "obturator_externus", "quadratus_femoris")

Line = tuple[float, float]


def published_lines(path: Path) -> dict[str, Line]:
    """Slope (cm3 per m kg) and intercept (cm3) of each muscle of one leg; proportions of its model lines add up."""
    lines: dict[str, Line] = {}
    proportion: dict[str, float] = defaultdict(float)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model_muscle_name"].endswith("_r"):
                lines[row["handsfield_name"]] = (float(row["b_slope"]), float(row["b_intercept"]))
                proportion[row["handsfield_name"]] += float(row["volume_proportion"])
    wrong = [name for name, total in proportion.items() if abs(total - 1) > 1e-3]
    if wrong:
        raise SystemExit(f"{path}: the proportions of {wrong} do not add up to one")
    return lines


def atlas_volumes(manifest: dict[str, object]) -> list[dict[str, float]]:
    """Volume (cm3) of each muscle, one dictionary a leg."""
    legs: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for mesh in manifest["meshes"]:  # type: ignore[attr-defined]
        if mesh["subject"] in PEOPLE and mesh["kind"] == "muscle" and mesh["side"] in ("left", "right"):
            legs[mesh["subject"], mesh["side"]][mesh["structure"]] = mesh["volume_cm3"]
    return list(legs.values())


def mean_share(legs: list[dict[str, float]], key: str) -> float:
    """Volume of a muscle over that of the regressed ones, mean over the legs that have all of them."""
    needed = [name for ours in REGRESSED for name in ATLAS_FILES.get(ours, (ours,))]
    shares = [leg[key] / sum(leg[n] for n in needed) for leg in legs if key in leg and all(n in leg for n in needed)]
    return float(np.mean(shares))


def fraction_below(path: Path, z_mm: float) -> float:
    """Part of a closed mesh's volume below a height: the flux of (0, 0, min(z, height)) through its triangles."""
    data = path.read_bytes()
    header, body = data.split(b"end_header\n", 1)
    counts = {w[1]: int(w[2]) for w in (line.split() for line in header.decode().splitlines()) if w[0] == "element"}
    vertices = np.frombuffer(body, "<f4", 3 * counts["vertex"]).reshape(-1, 3).astype(float)
    record = np.dtype([("n", "u1"), ("v", "<i4", 3)])
    faces = np.frombuffer(body, record, counts["face"], vertices.nbytes // 2)["v"]
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal_z = np.cross(b - a, c - a)[:, 2] / 2
    heights = np.stack([a[:, 2], b[:, 2], c[:, 2]], axis=1)
    whole = float((heights.mean(axis=1) * normal_z).sum())
    return float((np.minimum(heights, z_mm).mean(axis=1) * normal_z).sum()) / whole


def mean_fraction_below_head(atlas: Path, manifest: dict[str, object], name: str) -> float:
    """Part of a muscle below the top of the femoral head, mean over the legs."""
    fractions = []
    for subject, sides in manifest["landmarks"].items():  # type: ignore[attr-defined]
        if subject not in PEOPLE:
            continue
        for side, marks in sides.items():
            level = marks["femoral_head_centre_mm"][2] + FEMORAL_HEAD_RADIUS_MM
            fractions.append(fraction_below(atlas / "meshes" / subject / side / f"{name}.ply", level))
    return float(np.mean(fractions))


def derive(shared: Path) -> list[tuple[str, float, float, str]]:
    """Rows (key, slope, intercept, basis)."""
    lines = published_lines(shared / "stats/handsfield2014.csv")
    manifest = json.loads((shared / "atlas/manifest.json").read_text(encoding="utf-8"))
    rows = [
        (key, sum(lines[n][0] for n in names), sum(lines[n][1] for n in names), "handsfield2014")
        for key, names in REGRESSED.items()
    ]
    total: Line = (sum(r[1] for r in rows), sum(r[2] for r in rows))
    legs = atlas_volumes(manifest)
    shares = {key: mean_share(legs, key) for key in SHARED_OUT}
    below = {
        n: mean_fraction_below_head(shared / "atlas", manifest, f)
        for n, f in (("iliacus", "iliacus"), ("psoas", "psoas_major"))
    }
    rows += [(key, share * total[0], share * total[1], "atlas_share") for key, share in shares.items()]
    rows += [(n, (1 - f) * lines[n][0], (1 - f) * lines[n][1], "handsfield2014_split") for n, f in below.items()]
    joined = [sum(f * lines[n][i] for n, f in below.items()) for i in (0, 1)]
    rows.append(("iliopsoas", joined[0], joined[1], "handsfield2014_split"))
    return rows


def main() -> None:
    """Write the table."""
    rows = derive(Path(sys.argv[1]))
    text = ["structure,slope_cm3_per_m_kg,intercept_cm3,basis"]
    text += [f"{key},{slope:.4f},{intercept:.3f},{basis}" for key, slope, intercept, basis in rows]
    OUTPUT.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(OUTPUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
