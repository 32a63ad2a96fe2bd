"""Labels that are larger or far smaller than any person's muscle: a swelling, a tumour, a speck, a wrong label."""

from __future__ import annotations

from collections.abc import Iterable

from vastus.anatomy import SIDES, Kind, StructureTable
from vastus.morphometry.structures import StructureMeasures
from vastus.muscle_volumes import find_fragments, largest_volume_mm3

LEAST_BONE_HU = 130.0
"""Mean of a muscle above this is bone, also with contrast medium; of a bone below it is none."""
LEAST_MUSCLE_HU = -130.0
"""Mean of a muscle below this is less than fat: no person has it, not even where fat has taken its place."""
LEAST_TOLD_MM3 = 5000.0


def wrong_density(structures: Iterable[StructureMeasures]) -> tuple[str, ...]:
    """Warn if muscles are as dense as bone or lighter than fat, or bones as soft as muscle.

    Then the values mean other structures, or the scan is not in HU.
    """
    odd = [
        f"{m.structure.english}, {m.side.value} ({m.hu.mean_hu:.0f} HU)"
        for m in structures
        if m.hu is not None and (m.volume_mm3 or 0.0) >= LEAST_TOLD_MM3 and _is_odd(m.structure.kind, m.hu.mean_hu)
    ]
    if not odd:
        return ()
    return (
        f"The density does not fit the name: {', '.join(odd[:6])}{' ...' if len(odd) > 6 else ''}. The label map may be"
        " numbered by another program, or belong to another scan, or the scan may not be in HU.",
    )


def _is_odd(kind: Kind, mean_hu: float) -> bool:
    if kind is Kind.MUSCLE:
        return not LEAST_MUSCLE_HU < mean_hu < LEAST_BONE_HU
    return mean_hu < LEAST_BONE_HU


def too_large(structures: Iterable[StructureMeasures]) -> tuple[str, ...]:
    """Warn of each muscle of one side that is larger than that of the largest person."""
    found = []
    for measured in structures:
        limit_mm3 = largest_volume_mm3(measured.structure.key)
        if limit_mm3 is None or measured.side not in SIDES or (measured.volume_mm3 or 0.0) <= limit_mm3:
            continue
        found.append(
            f"{measured.structure.english}, {measured.side.value}: {(measured.volume_mm3 or 0.0) / 1000:.0f} mL, more "
            f"than a person of 205 cm and 150 kg has ({limit_mm3 / 1000:.0f} mL). A tumour or a swelling is labelled "
            "as muscle, or the label is wrong."
        )
    return tuple(found)


def fragment_warnings(structures: Iterable[StructureMeasures]) -> tuple[str, ...]:
    """Warn of each fragment: how much is labelled, why this is no muscle, and that it counts nowhere."""
    there = {(s.structure.key, s.side): s for s in structures if s.volume_mm3 is not None}
    cut = [at for at, measured in there.items() if measured.truncated]
    reasons = find_fragments({at: measured.volume_mm3 or 0.0 for at, measured in there.items()}, cut)
    return tuple(
        f"{there[at].structure.english}, {at[1].value}: {(there[at].volume_mm3 or 0.0) / 1000:.1f} mL are labelled, a "
        f"fragment: {why}. It counts in no difference, sum or index. The label is wrong, or the structure is not there."
        for at, why in reasons.items()
    )


def not_measured(table: StructureTable) -> tuple[str, ...]:
    """Say what can't be measured with a table of structures, and which structures it lacks for that."""
    found = []
    if "femur" not in table.by_key or not table.by_key["femur"].paired:
        found.append(
            "The table of structures has no femur of each side: there are no levels, areas at levels, lengths and fat."
        )
    elif "hip_bone" not in table.by_key:
        found.append("The table of structures has no hip bone: there is no level of the ischial tuberosity.")
    if not table.has_whole_thigh:
        found.append(
            "Fat of the thigh, posterior to anterior muscles, and thigh muscle to femur need every muscle of the thigh"
            " by itself. The table of structures does not have them so: these measures are left out."
        )
    return tuple(found)
