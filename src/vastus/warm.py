"""What a first run would compile or lay down, done ahead: after an installation, or into a container image."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vastus.inference.predictor import Predictor
from vastus.rehearsal import begin, drawn_legs, rehearse_cleaning, rehearse_septa
from vastus.volume import Volume


def warm(predictor: Predictor) -> None:
    """Label and measure a drawn body once, so that all loops of ``segment`` are compiled and kept.

    Args:
        predictor: as later runs will load it: the compiled network is kept, too.
    """
    from vastus.morphometry import measure_scan
    from vastus.pipeline import Begun, ScanRequest, segment_to_folder

    scan, labels = drawn_legs()
    with tempfile.TemporaryDirectory(prefix="vastus-warm-") as name:
        path = Path(name) / "scan.nii.gz"
        _write_scan(scan, path)
        # A second process compiles one half of the loops meanwhile.
        segment_to_folder(predictor, ScanRequest(path, Path(name) / "out"), begun=Begun(helper=begin()))
    # The network finds little in such a drawing: what is measured only where there are legs is measured here.
    measure_scan(scan, labels, "warm")
    rehearse_septa()
    rehearse_cleaning()
    rehearse_cleaning(fills_scan=True)


def _write_scan(scan: Volume, path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(scan.array, scan.affine), path)
