"""Are the people between two people between them? Volumes of every structure, of an atlas with such people.

    vastus atlas MESH_PACK -o ATLAS --between 0.25,0.75
    python benchmarks/people_between.py --atlas ATLAS --out RESULTS

Says how far the two surfaces lie apart before and after matching (it should be below 1.5 mm), writes
``people_between.csv`` (structure, side, volumes of both and of each between) and prints how many structures
lie outside of the two, by how much at most, and how far along they are: a share of 0.25 should be a quarter of the way.
All people between have the mean leg of the two, so volumes are compared as they would be with legs of one length. The
muscles of the trunk are modelled anew for each person and left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from vastus.anatomy import SIDES, STRUCTURES
from vastus.io.atomic import write_text
from vastus.synthesis.atlas import Atlas, load_atlas
from vastus.synthesis.correspondence import find_correspondence

_MODELLED = ("abdominal_oblique", "rectus_abdominis", "multifidus")
_LEAST_DIFFERENCE = 1.2
"""Where the two people differ by less than this factor, rounding hides how far along a structure is."""
_LEG_MM = 400.0


def volumes_cm3(person: Atlas) -> pd.Series:
    """Volume of each structure and side, the person scaled to legs of ``_LEG_MM``."""
    scale = (_LEG_MM / person.landmarks.leg_mm) ** 3
    rows = {
        (s.key, side.value): sum(p.volume_mm3 for p in person.select(s.class_id) if p.side is side) * scale / 1000
        for s in STRUCTURES
        if s.key not in _MODELLED
        for side in SIDES
    }
    return pd.Series(rows)


def between(table: pd.DataFrame, name: str) -> dict[str, float]:
    """One person between against the two: structures outside, the worst of them in percent, how far along."""
    first, second = ("vhf", "vhm") if name.startswith("vhf") else ("vhm", "vhf")
    low, high = table[["vhf", "vhm"]].min(axis=1), table[["vhf", "vhm"]].max(axis=1)
    beyond = np.maximum(low / table[name], table[name] / high) - 1
    apart = high > _LEAST_DIFFERENCE * low
    along = np.log(table[name] / table[first])[apart] / np.log(table[second] / table[first])[apart]
    return {
        "structures": len(table),
        "outside": int((beyond > 0).sum()),
        "outside_at_most_percent": 100 * beyond.max(),
        "apart": int(apart.sum()),
        "apart_and_outside": int((beyond[apart] > 0).sum()),
        "along_median": along.median(),
        "along_low": along.quantile(0.1),
        "along_high": along.quantile(0.9),
    }


def main() -> None:
    """Read the atlases, write the table, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    paths = sorted(given.atlas.glob("atlas_*.npz"))
    table = pd.DataFrame({path.stem.removeprefix("atlas_"): volumes_cm3(load_atlas(path)) for path in paths})
    table.index.names = ["structure", "side"]
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(given.out / "people_between.csv", table.round(2).to_csv())
    before, after = find_correspondence(
        *(load_atlas(given.atlas / f"atlas_{name}.npz") for name in ("vhf", "vhm"))
    ).miss_mm
    print(f"surfaces {before:.1f} mm apart, matched {after:.1f} mm\n")
    names = [name for name in table if name not in ("vhf", "vhm")]
    print(pd.DataFrame({name: between(table, name) for name in names}).T.round(2).to_string())


if __name__ == "__main__":
    main()
