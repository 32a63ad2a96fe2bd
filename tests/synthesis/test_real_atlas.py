"""The real meshes, where they lie beside the checkout: volumes of the manifest, wanted volumes, topology.

Of one person. What takes both (matching them, people between) takes minutes: ``benchmarks/people_between.py``.
"""

import json
from pathlib import Path

import cc3d
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES
from vastus.synthesis.atlas import PersonName
from vastus.synthesis.atlas_building import build_atlas
from vastus.synthesis.growth import Grid
from vastus.synthesis.subject import Variety, build_body, sample_plan
from vastus.synthesis.tissues import Tissue

PACK = Path(__file__).parents[3] / "shared" / "atlas"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not PACK.is_dir(), reason="the meshes are not beside the checkout"),
]


@pytest.fixture(scope="module")
def atlas():
    return build_atlas(PACK, PersonName.FEMALE)


def test_parts_have_the_volumes_of_the_manifest(atlas):
    entries = json.loads((PACK / "manifest.json").read_text())["meshes"]
    volumes = {(e["structure"], e["side"]): e["volume_cm3"] for e in entries if e["subject"] == "vhf"}
    for part in atlas.parts:
        key = (part.name, part.side.value)
        if key in volumes and volumes[key] > 20 and part.name not in ("iliacus", "psoas_major"):
            assert part.volume_mm3 / 1000 == pytest.approx(volumes[key], rel=0.04), key


def test_a_body_has_the_wanted_volumes_in_one_piece_each(atlas):
    plan = sample_plan(3, [atlas], Variety.CLINICAL)
    body = build_body(plan, atlas)
    spacing = (1.5, 1.5, 2.0)
    shape = tuple(int(n) for n in (body.high_mm - body.low_mm) / spacing)
    labels = body.label_values()[body.tissue_map(Grid(body.low_mm, spacing, shape)).part]
    counts = np.bincount(labels.ravel(), minlength=256) * np.prod(spacing)
    misses = {
        (key, side.value): counts[BY_KEY[key].label_value(side)] / target - 1
        for (key, side), target in plan.target_mm3.items()
    }
    assert np.median(np.abs(list(misses.values()))) < 0.01
    assert max(map(abs, misses.values())) < 0.03, misses
    pieces = {}
    for structure in STRUCTURES:
        for side in SIDES:
            mask = labels == structure.label_value(side)
            assert mask.any(), (structure.key, side)
            pieces[structure.key, side.value] = int(cc3d.connected_components(mask, connectivity=26).max())
    assert set(pieces.values()) == {1}, pieces


def test_a_slim_thigh_has_no_ring_of_fat_around_its_bone(atlas):
    # Where each muscle shrank from its own surface, 63% of this ring were fat.
    body = build_body(sample_plan(8, [atlas], Variety.CLINICAL), atlas)
    low = np.array([body.low_mm[0], body.low_mm[1], body.length_mm / 2 - 20.0])
    depth = int(body.high_mm[1] - body.low_mm[1])
    tissue = body.tissue_map(Grid(low, (1.0, 1.0, 4.0), (600, depth, 10))).tissue
    slices = np.moveaxis(tissue == BY_KEY["femur"].class_id, 2, 0)
    distance_mm = np.stack([distance_transform_edt(~bone) for bone in slices], axis=2)
    ring = (distance_mm > 0.5) & (distance_mm <= 3)
    assert ring.any()
    assert (tissue[ring] == Tissue.FAT).mean() < 0.25
