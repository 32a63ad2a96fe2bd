"""Fuzz what reads DICOM, guided by coverage: ``pip install atheris``, then

    nice -n 10 python tools/fuzz_dicom.py CORPUS -max_total_time=600 -max_len=4000 -timeout=20 -rss_limit_mb=2048

Each input takes the place of one slice of a series, and read as the node's receiver does, and de-identified too. A
named refusal (``VastusError``) is right; every other exception is a finding, as is what takes 20 s or 2 GB. CORPUS is a
folder, filled with valid files at the first start; findings are written to ``crash-*`` here.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pydicom", "vastus"]):
    import pydicom
    import pydicom.filereader

    from vastus.dicom.deidentify import Pseudonyms, deidentify_folder
    from vastus.errors import InputError, VastusError
    from vastus.io.scans import read_scan
    from vastus.node import receiver

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

import dicom_factory as factory

SHAPE = (3, 12, 10)
DEIDENTIFY_EVERY = 8


class Target:
    """The calls under test, on a folder whose middle slice is replaced."""

    def __init__(self, folder: Path) -> None:
        self._ct, self._out = folder / "ct", folder / "out"
        spec = factory.series(SHAPE[0], hu=factory.ct_values(SHAPE))
        self._middle = factory.write_series(self._ct, spec)[1]
        self._pseudonyms = Pseudonyms(bytes(32))
        self._calls = 0

    def __call__(self, data: bytes) -> None:
        """Fail on anything but a result or a named refusal."""
        self._calls += 1
        self._middle.write_bytes(data)
        with suppress(InputError):
            scan = read_scan(self._ct)
            assert np.isfinite(scan.volume.array).all()
        if self._calls % DEIDENTIFY_EVERY == 0:
            with suppress(VastusError):
                deidentify_folder(self._ct, self._out, self._pseudonyms)
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            # The node refuses an object whatever this raises; it must only not hang or fill the memory.
            with suppress(Exception):
                receiver._series_uid(io.BytesIO(data[132:]), syntax)


def seed(corpus: Path) -> None:
    """Valid slices of several kinds."""
    corpus.mkdir(parents=True, exist_ok=True)
    for name, spec in {
        "plain": factory.series(SHAPE[0], hu=factory.ct_values(SHAPE)),
        "rle": factory.series(SHAPE[0], hu=factory.ct_values(SHAPE), compressed=True),
        "signed": factory.series(SHAPE[0], hu=factory.ct_values(SHAPE), signed=True, intercept=0.0),
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            path = factory.write_series(Path(folder), spec)[1]
            (corpus / name).write_bytes(path.read_bytes())
            dataset = pydicom.dcmread(path)
            if name == "plain":
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
                dataset.save_as(corpus / "implicit", implicit_vr=True, little_endian=True)


def main() -> None:
    """Fuzz until stopped."""
    warnings.simplefilter("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
    corpus = next((Path(a) for a in sys.argv[1:] if not a.startswith("-")), None)
    if corpus is not None and not any(corpus.glob("*")):
        seed(corpus)
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(sys.argv, Target(Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
