from pathlib import Path

import pytest

from vastus.errors import UnsupportedScanError
from vastus.io.dimensions import three_dimensions


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 1), (5, 6, 7, 1, 1), (1, 6, 1)])
def test_further_dimensions_of_length_one_are_dropped(shape: tuple[int, ...]) -> None:
    assert three_dimensions(shape, Path("scan.nii")) == shape[:3]


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 2), (5, 6, 7, 2, 1)])
def test_a_slice_and_a_time_series_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedScanError, match="dimensions"):
        three_dimensions(shape, Path("scan.nii"))
