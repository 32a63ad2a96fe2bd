"""What a tool or a correction would do, before anybody keeps it: mL of each structure, and the voxels to show."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

from vastus.anatomy import BUILT_IN, UNLABELLED, StructureTable
from vastus.annotation.structures import name_of_value
from vastus.refinement.boxes import box_of
from vastus.refinement.grow_structures import Change, changes_between
from vastus.volume import Volume, to_ras


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A change of labels that has not been made.

    Attributes:
        note: what would be done.
        shown: the labels as they are on the annotator's screen.
        after: the labels as they would be; both on one grid.
        changes: what that does to each structure, in mL.
        table: of the structures.
    """

    note: str
    shown: Volume
    after: Volume
    changes: tuple[Change, ...]
    table: StructureTable = BUILT_IN

    def row(self) -> dict[str, Any]:
        """For a client.

        ``box`` is first i, j, k and last i, j, k of what would change on screen, in RAS order; ``labels`` its values
        after the change, base64 of gzip of uint8, i fastest. Both are None where nothing would.
        """
        rows = [
            {
                "value": c.value,
                "name": "Unlabelled" if c.value == UNLABELLED else name_of_value(c.value, self.table),
                "before_ml": round(c.before_ml, 2),
                "after_ml": round(c.after_ml, 2),
                "gained_ml": round(c.gained_ml, 2),
                "lost_ml": round(c.lost_ml, 2),
            }
            for c in self.changes
        ]
        before, after = to_ras(self.shown).array, to_ras(self.after).array
        box = box_of(before != after)
        if box is None:
            return {"note": self.note, "changes": rows, "box": None, "labels": None}
        packed = gzip.compress(after[box].tobytes(order="F"), compresslevel=1)
        corners = [*(int(s.start) for s in box), *(int(s.stop) - 1 for s in box)]
        return {"note": self.note, "changes": rows, "box": corners, "labels": base64.b64encode(packed).decode("ascii")}


def preview_of(note: str, shown: Volume, after: Volume, before: Volume | None = None) -> Preview:
    """A preview; volumes are told against ``before``, the last version, or against what is shown."""
    base = shown if before is None else before
    return Preview(note, shown, after, changes_between(base.array, after.array, after.spacing_mm))
