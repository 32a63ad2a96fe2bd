"""How long the DICOM results of one large scan take: ``python benchmarks/bench_dicom.py``.

58 labelled structures on 512 x 512 x 450 voxels (the sample scan's true labels, enlarged); every format in a
process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SAMPLE = Path(__file__).parents[1] / "examples" / "sample_labels.nii.gz"
FORMATS = ("dicom-seg", "dicom-labelmap", "dicom-seg,sr", "rtstruct", "pdf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", default=FORMATS)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--slices", type=int, default=450)
    parser.add_argument("--keep", type=Path, help="write the objects there")
    options = parser.parse_args()
    print(f"## DICOM results\n\n58 structures, {options.side} x {options.side} x {options.slices}\n")
    print("| -f | seconds | processor s | files, MB | memory above the scan, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for formats in options.formats:
            folder = options.keep or Path(name)
            values = (formats, options.side, options.slices, str(folder))
            command = f"from bench_dicom import measure; measure(*{values!r})"
            subprocess.run([sys.executable, "-c", command], check=True, cwd=Path(__file__).parent)


def measure(formats: str, side: int, slices: int, folder: str) -> None:
    """Print one line of the table."""
    from vastus.batch.worker import _forget_peak, peak_bytes
    from vastus.dicom.outputs import parse_formats, write_dicom

    content = make_content(side, slices, Path(folder) / "ct")
    _forget_peak()
    before = peak_bytes()
    start, processor = time.perf_counter(), time.process_time()
    paths = write_dicom(content, parse_formats(formats), Path(folder) / "out")
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    size = sum(path.stat().st_size for path in paths) / 1e6
    memory = (peak_bytes() - before) / 1e6
    print(f"| {formats} | {seconds:.1f} | {processor:.1f} | {size:.0f} | {memory:.0f} |", flush=True)


def make_content(side: int, slices: int, folder: Path):
    """Headers without pixels on disk, and labels on their grid."""
    import nibabel as nib
    import numpy as np
    import pydicom

    import dicom_factory as factory
    from labelled_dicom import FULL_HEADER
    from vastus.dicom.objects import Algorithm
    from vastus.dicom.outputs import DicomContent
    from vastus.io.scans import read_scan
    from vastus.morphometry import measure_volumes

    if not folder.exists():
        hu = np.zeros((slices, 1, 1), np.int16)
        spec = factory.series(slices, hu=hu, extra=FULL_HEADER, pixel_spacing=(0.8, 0.8), step=2.0)
        for path in factory.write_series(folder, spec):
            dataset = pydicom.dcmread(path)
            dataset.Rows = dataset.Columns = side
            dataset.PixelData = np.linspace(0, 1200, side * side).astype(np.uint16).tobytes()
            dataset.save_as(path)
    scan = read_scan(folder)
    sample = np.asarray(nib.load(SAMPLE).dataobj, np.uint8)
    steps = [np.arange(n) * old // n for n, old in zip(scan.volume.shape, sample.shape, strict=True)]
    labels = scan.volume.with_array(np.asfortranarray(sample[np.ix_(*steps)]))
    rows = tuple(measure_volumes(scan.volume, labels, "scan"))
    return DicomContent(scan, labels, rows, Algorithm("toy (0123456789ab)"))


if __name__ == "__main__":
    main()
