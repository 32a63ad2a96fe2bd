import numpy as np

from vastus.annotation.project.merging import centre_of, merge_labels


def test_changes_of_different_voxels_are_both_kept() -> None:
    parent = np.zeros((4, 3, 2), np.uint8)
    parent[3] = 9
    theirs, mine = parent.copy(), parent.copy()
    theirs[0, 0] = 5
    mine[3, 2] = 0  # an erased voxel is a change, too
    merged = merge_labels(parent, theirs, mine)
    wanted = parent.copy()
    wanted[0, 0], wanted[3, 2] = 5, 0
    assert np.array_equal(merged.labels, wanted) and merged.clashes == 0


def test_the_same_change_is_no_clash_and_another_is() -> None:
    parent = np.zeros((5, 5, 3), np.uint8)
    theirs, mine = parent.copy(), parent.copy()
    theirs[1:4, 2, 1] = mine[1:4, 2, 1] = 7
    assert merge_labels(parent, theirs, mine).clashes == 0
    mine[1:4, 2, 1] = 8
    mine[0, 0, 0], theirs[0, 0, 0] = 1, 2
    merged = merge_labels(parent, theirs, mine)
    assert merged.clashes == 4
    assert centre_of(merged.both) == (2, 2, 1)
    assert (merged.labels[1:4, 2, 1] == 8).all()
