"""How the tissues of a body look in one scan: grey values, fat inside, textures; and how the tube voltage changes them.

Muscle and fat were set against real thigh CTs (see the docs); bone, contrast medium and metal are textbook values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.protocols import Contrast, contrast_factor
from vastus.synthesis.soft_tissues import look_of
from vastus.synthesis.tissues import Tissue, is_muscle

_METAL_HU: Final = 3000.0
_RANGES: Final = {
    Tissue.GAS: (-950.0, -750.0),
    Tissue.CALCIUM: (250.0, 1000.0),
    Tissue.TENDON: (50.0, 110.0),
    Tissue.METAL: (_METAL_HU, _METAL_HU),
    Tissue.BOWEL: (10.0, 45.0),
    Tissue.FRACTURE: (-20.0, 110.0),
}
"""HU of tissues that are even."""
_REPLACED: Final = 0.125
"""How often single muscles have turned into fat."""
_CONTRAST_FROM_HU: Final = 70.0
"""What is denser than any soft tissue owes the rest to iodine or calcium."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How the tissues of one body look in one scan; drawn once a scan.

    Attributes:
        mean_hu: by part number (256); muscles have one each.
        infiltration: share of fat inside, by part number.
        layer_mm: depth of a thin sheet of fat below either face, by part number; 0 for none. It makes three layers.
        fat_hu, skin_hu: of what is no part.
        fibre_contrast: how sharply streaks of fat stand out, 1 soft .. 6 hard.
        seam: share of fat at the very edge of a muscle where it is widest; see ``seams``.
        septa_hu: brightness of the fine strands in fat.
        cortex_hu, spongy_hu, marrow_hu: of bone; marrow fills the shaft.
        cortex_mm: thickness at the joint ends and in mid-shaft.
        gas: share of the bowel that is gas.
        bowel_fat: share of the cavity that is fat.
    """

    mean_hu: NDArray[np.float32]
    infiltration: NDArray[np.float32]
    layer_mm: NDArray[np.float32]
    fat_hu: float
    skin_hu: float
    fibre_contrast: float
    seam: float
    septa_hu: float
    cortex_hu: float
    spongy_hu: float
    marrow_hu: float
    cortex_mm: tuple[float, float]
    gas: float
    bowel_fat: float


class PartFacts(Protocol):
    """What the look of a part depends on."""

    @property
    def name(self) -> str:
        """Structure name."""

    @property
    def tissue(self) -> int:
        """Class id or ``Tissue``."""


def sample_look(parts: Sequence[PartFacts], rng: np.random.Generator) -> Look:
    """Draw the look of a body."""
    muscle = float(np.clip(rng.normal(55, 7), 24, 72))
    mean = np.zeros(256, np.float32)
    fat_inside = np.zeros(256, np.float32)
    share = float(np.clip(np.exp(rng.normal(np.log(0.06), 0.8)), 0.01, 0.4))
    contrast_vessel = float(rng.choice([rng.uniform(30, 55), rng.uniform(90, 320)], p=[0.7, 0.3]))
    organ = float(rng.uniform(30, 60)) + (40 if contrast_vessel > 80 else 0)
    for number, part in enumerate(parts):
        if is_muscle(part.tissue):
            mean[number] = muscle + rng.normal(0, 4)
            fat_inside[number] = np.clip(share * np.exp(rng.normal(0, 0.5)), 0.005, 0.5)
        elif part.tissue == Tissue.SOFT:
            look = look_of(part.name)
            mean[number] = rng.normal(look.mean_hu, look.sd_hu) + look.contrast_hu * (contrast_vessel > 80)
            fat_inside[number] = np.clip(look.fat * np.exp(rng.normal(0, 0.5)), 0.0, 0.6)
        elif part.tissue in _RANGES:
            mean[number] = rng.uniform(*_RANGES[Tissue(part.tissue)])
        else:
            mean[number] = _fluid_hu(part, contrast_vessel, organ, rng)
    _replace_with_fat(parts, fat_inside, rng)
    layers = np.zeros(256, np.float32)
    layer_mm = float(rng.uniform(2.5, 5.0))
    for number, part in enumerate(parts):
        if part.name == "abdominal_oblique":
            layers[number] = layer_mm
    cortex_mm = (float(rng.uniform(0.8, 2.0)), float(rng.uniform(3.0, 7.0)))
    return Look(
        mean_hu=mean,
        infiltration=fat_inside,
        layer_mm=layers,
        fat_hu=float(rng.normal(-106, 6)),
        skin_hu=float(rng.uniform(-30, 30)),
        fibre_contrast=float(rng.uniform(1.2, 4.0)),
        seam=float(rng.uniform(0.8, 1.5)),
        septa_hu=float(rng.uniform(5, 45)),
        cortex_hu=float(rng.uniform(800, 1500)),
        spongy_hu=float(rng.uniform(80, 330)),
        marrow_hu=float(rng.uniform(-70, 60)),
        cortex_mm=cortex_mm,
        gas=float(rng.uniform(0, 0.15)),
        bowel_fat=float(rng.uniform(0.25, 0.7)),
    )


def _fluid_hu(part: PartFacts, contrast_vessel: float, organ: float, rng: np.random.Generator) -> float:
    """HU of what contrast medium reaches; 0 for what the painter knows itself (bone)."""
    if part.tissue == Tissue.VESSEL:
        return contrast_vessel * (1.0 if part.name == "artery" else float(rng.uniform(0.6, 1.0)))
    if part.tissue == Tissue.ORGAN:
        return organ + float(rng.normal(0, 10))
    if part.tissue == Tissue.FLUID:
        native = float(rng.uniform(0, 18))
        with_medium = part.name == "bladder" and rng.random() < (0.25 if contrast_vessel > 80 else 0.02)
        return float(rng.uniform(100, 800)) if with_medium else native
    return 0.0


def _replace_with_fat(parts: Sequence[PartFacts], fat_inside: NDArray[np.float32], rng: np.random.Generator) -> None:
    """In one scan of eight, up to three muscles are mostly fat, on one side or on both (in place)."""
    names = sorted({part.name for part in parts if is_muscle(part.tissue)})
    if not names or rng.random() >= _REPLACED:
        return
    chosen = {names[int(n)] for n in rng.integers(len(names), size=int(rng.integers(1, 4)))}
    for number, part in enumerate(parts):
        if part.name in chosen and rng.random() < 0.7:
            fat_inside[number] = rng.uniform(0.5, 0.9)


def at_voltage(look: Look, parts: Sequence[PartFacts], voltage_kv: float) -> Look:
    """The look at another tube voltage than ``REFERENCE_KV``: contrast against water changes by tissue."""
    muscle, fat, bone, iodine = (contrast_factor(voltage_kv, c) for c in Contrast)
    mean = look.mean_hu * np.float32(muscle)
    for number, part in enumerate(parts):
        if part.tissue == Tissue.METAL or look.mean_hu[number] < 0:
            mean[number] = look.mean_hu[number]
        elif look.mean_hu[number] > _CONTRAST_FROM_HU:
            dense = bone if part.tissue in (Tissue.OTHER_BONE, Tissue.CALCIUM) else iodine
            mean[number] = _CONTRAST_FROM_HU + dense * (look.mean_hu[number] - _CONTRAST_FROM_HU)
    return replace(
        look,
        mean_hu=mean,
        fat_hu=look.fat_hu * fat,
        cortex_hu=look.cortex_hu * bone,
        spongy_hu=look.spongy_hu * bone,
        marrow_hu=look.marrow_hu * (fat if look.marrow_hu < 0 else muscle),
    )
