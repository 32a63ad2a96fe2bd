"""Labels that are larger than any person's muscle: a swelling, a tumour, or a wrong label."""

from __future__ import annotations

from collections.abc import Iterable

from vastus.anatomy import Side
from vastus.morphometry.structures import StructureMeasures
from vastus.muscle_volumes import largest_volume_mm3


def too_large(structures: Iterable[StructureMeasures]) -> tuple[str, ...]:
    """A warning for each muscle of one side that exceeds what the largest person's may measure."""
    found = []
    for measured in structures:
        limit_mm3 = largest_volume_mm3(measured.structure.key)
        if limit_mm3 is None or measured.side is Side.UNKNOWN or (measured.volume_mm3 or 0.0) <= limit_mm3:
            continue
        found.append(
            f"{measured.structure.english}, {measured.side.value}: {(measured.volume_mm3 or 0.0) / 1000:.0f} mL, more "
            f"than a person of 205 cm and 150 kg has ({limit_mm3 / 1000:.0f} mL). A tumour or a swelling is labelled "
            "as muscle, or the label is wrong."
        )
    return tuple(found)
