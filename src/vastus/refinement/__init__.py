"""Interactive tools on arrays: outlining a slice, growing from seeds, filling between slices, smoothing, mending one.

Pure functions on numpy arrays; only ``outline_files`` reads and writes. A label map is uint8 with the
values of ``vastus.anatomy`` (0 background); the axes may lie in any order as long as all arrays share them.

- ``outlining.Outliner(slab, at, tumour=None)``: edge-aware outlining of one slice; ``outline(spec)`` -> mask of
  class ids from an ``outline.Outline`` (strokes, cuts, undecided borders, polygons). ``outline_files``: as JSON.
- ``grow_from_seeds.SeedGrower(hu, spacing_mm, margin_mm=30.0)``: keeps its state; ``grow(seeds)`` -> labels, at
  once for a changed stroke. In ``seeds`` 0 means no stroke and ``BACKGROUND_SEED`` (254) a stroke of background.
- ``grow_structures.StructureGrower(hu, spacing_mm)``: the safe way to use it; ``grow(drawn, before)`` -> labels
  and what changed: only structures with new strokes, only into free tissue of their kind.
- ``between_slices.fill_between(labels, slices, axis, spacing_mm, values=None)`` -> labels: what lies between corrected
  slices, from signed distances.
- ``propagation.propagate(hu, labels, spacing_mm)`` -> labels between drawn slices, from shapes and then edges;
  says which slices it filled.
- ``smoothing.smooth_structure(labels, value, spacing_mm, band=Band())`` -> labels: the boundary of one structure.
- ``one_structure.replace_structure(labels, mask, value, spacing_mm, give_way=frozenset())`` -> labels: "this
  muscle only".
"""
