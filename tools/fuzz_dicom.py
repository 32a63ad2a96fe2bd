"""Fuzz what reads DICOM, guided by coverage: ``pip install atheris``, then

    nice -n 10 python tools/fuzz_dicom.py CORPUS -max_total_time=1800 -max_len=4000 -timeout=20 -rss_limit_mb=3000

An input that begins with an odd byte is a file that takes the place of one slice. Any other one is a list of what
happens to a whole series: slices vanish, their rescale values differ, headers are odd. Both are read as a scan, and now
and then de-identified. A named refusal (``VastusError``) is right; so is the true HU of every slice, or a scan with a
warning. Every other exception is a finding, as are wrong numbers without a word, and what takes 20 s or 3 GB. CORPUS is
a folder, filled at the first start; findings are written to ``crash-*`` here.
"""

from __future__ import annotations

import copy
import io
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pydicom", "vastus"]):
    import pydicom
    import pydicom.filereader

    from vastus.dicom.deidentify import Pseudonyms, deidentify_folder
    from vastus.dicom.source import with_checked_headers
    from vastus.errors import InputError, VastusError
    from vastus.io.scans import read_scan
    from vastus.node import receiver

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from fuzz_choices import Choices, Target, fuzz
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

import dicom_factory as factory

SHAPE = (6, 12, 10)
DEIDENTIFY_EVERY = 8
MOST_CHANGES = 4
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian)
ODD_HEADERS = {
    "SpecificCharacterSet": ["ISO 2022 IR 149", "ISO_IR 192", "\\ISO 2022 IR 87", "ISO_IR 999", "GB18030", ""],
    "PatientName": ["Kim^Min Jun", "a" * 200, "^^^^^", "\x1b$)C", ""],
    "PatientSex": ["f", "M ", "Weiblich", "9", ""],
    "PatientBirthDate": ["19500101", "1950.01.01", "0", "99999999", ""],
    "PatientAge": ["045Y", "45", "-1Y", "045y", ""],
    "StudyDate": ["20200101", "2020-01-01", "00000000", ""],
    "StudyTime": ["101010", "10:10:10", "250000", ""],
    "InstanceNumber": ["1", "-5", "2147483648", ""],
    "SliceThickness": ["3", "0", "-1", "", "1e9"],
    "PixelSpacing": [[2.0, 2.0], [0.0, 2.0], [-2.0, 2.0], [2.0, 1e9]],
    "RescaleType": ["HU", "US", "hu ", "ED", ""],
    "LossyImageCompression": ["00", "01"],
    "NumberOfFrames": [1, 2, 0],
    "AcquisitionNumber": ["1", "2", ""],
    "KVP": ["120", "80", ""],
    "ImageType": [
        ["DERIVED", "PRIMARY", "MIP"],
        ["DERIVED", "PRIMARY", "VNC"],
        ["DERIVED", "SECONDARY"],
        ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ["ORIGINAL"],
    ],
    "Modality": ["CT", "MR", "ct"],
    "PhotometricInterpretation": ["MONOCHROME2", "MONOCHROME1", "RGB"],
    "BitsStored": [16, 12, 0, 17],
    "HighBit": [15, 11, 0],
    "FrameOfReferenceUID": ["1.2.3.5", "1.2.3.6", ""],
    "ConvolutionKernel": ["B30f", "B70f", ""],
    "WindowCenter": ["40", "a", ""],
    "SpacingBetweenSlices": ["3", "-3", "0"],
}

Slices = list[pydicom.Dataset]


class Series:
    """A series whose slices are changed before it is written, and what must then be read."""

    def __init__(self, slices: Slices, choices: Choices) -> None:
        self.slices, self.choices = slices, choices
        self.names = [f"s{number:02d}.dcm" for number in range(len(slices))]
        self.ends_cut = False

    def one(self) -> int:
        """Choose a slice."""
        return self.choices.below(len(self.slices))

    def vanish(self) -> None:
        """Take one slice away; of one at an end nothing tells."""
        number = self.one()
        if len(self.slices) > 1:
            self.ends_cut |= number in (0, len(self.slices) - 1)
            del self.slices[number], self.names[number]

    def rename(self) -> None:
        """Give one file another ending, or none."""
        number = self.one()
        ending = self.choices.of(["", ".txt", ".IMA", ".dcm.gz", ".001", ".part", ".pdf"])
        self.names[number] = f"t{number:02d}{ending}"

    def rescale(self) -> None:
        """Store one slice by other rescale values: the same HU."""
        dataset, slope = self.slices[self.one()], self.choices.of([1, 2, 0.5])
        if not {"RescaleSlope", "RescaleIntercept"} <= {element.keyword for element in dataset}:
            return
        stored = self._stored(dataset)
        hu = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, -2048
        dataset.PixelData = np.round((hu + 2048) / slope).astype(self._type(dataset)).tobytes()

    def mix(self) -> None:
        """Let the slices come in turn from two scans: two phases, two voltages, two counts."""
        keyword, values = self.choices.of([("AcquisitionNumber", ("1", "2")), ("KVP", ("80", "140"))])
        for number, dataset in enumerate(self.slices):
            setattr(dataset, keyword, values[number % 2])

    def scale(self) -> None:
        """Give all slices another scale than that of HU, as when an intercept is applied twice."""
        slope, intercept = self.choices.of([(1, -2048), (0.5, -512), (2, -2048), (1, -1324), (1, 0), (-1, 0)])
        for dataset in self.slices:
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    def no_rescale(self) -> None:
        """Take rescale values away, or make them odd."""
        dataset = self.slices[self.one()]
        keyword = self.choices.of(["RescaleSlope", "RescaleIntercept"])
        if self.choices.yes():
            setattr(dataset, keyword, self.choices.of([0, -1, "1e9", 1]))
        elif keyword in dataset:
            delattr(dataset, keyword)

    def pad(self) -> None:
        """Put padding into the corner, declared or not, in one slice or all."""
        value = self.choices.of([63536, 32768, 65535, 0, 63488])
        for dataset in self.slices if self.choices.yes() else [self.slices[self.one()]]:
            stored = self._stored(dataset).astype(np.int64)
            stored[:2, :2] = value - (1 << 16 if dataset.PixelRepresentation and value >= 1 << 15 else 0)
            dataset.PixelData = stored.astype(self._type(dataset)).tobytes()
            if self.choices.yes():
                dataset.add_new(0x00280120, "US", value)

    def odd_header(self) -> None:
        """Say something odd in one slice, or in all."""
        keyword = self.choices.of(list(ODD_HEADERS))
        value = self.choices.of(ODD_HEADERS[keyword])
        for dataset in self.slices if self.choices.yes() else [self.slices[self.one()]]:
            with suppress(ValueError, TypeError):
                setattr(dataset, keyword, value)

    def move(self) -> None:
        """Move one slice, or the whole stack step by step."""
        axis, by = self.choices.below(3), self.choices.of([0.005, 0.3, 3.0, -3.0, 1.5])
        start, growing = self.one(), self.choices.yes()
        for number in range(start, len(self.slices) if growing else start + 1):
            position = [float(v) for v in self.slices[number].ImagePositionPatient]
            position[axis] += by * (number - start + 1 if growing else 1)
            self.slices[number].ImagePositionPatient = [round(v, 6) for v in position]

    def double(self) -> None:
        """Add a slice once more, with the same pixels or others."""
        dataset = copy.deepcopy(self.slices[self.one()])
        if self.choices.yes():
            dataset.PixelData = bytes(len(dataset.PixelData))
        self.slices.append(dataset)
        self.names.append(f"u{len(self.slices):02d}.dcm")

    def split(self) -> None:
        """Give the slices from one on another series or study."""
        keyword = self.choices.of(["SeriesInstanceUID", "StudyInstanceUID", "PatientID"])
        for dataset in self.slices[self.one() :]:
            setattr(dataset, keyword, "1.2.99")

    def shorten(self) -> None:
        """Cut the pixels of one slice."""
        dataset = self.slices[self.one()]
        dataset.PixelData = dataset.PixelData[: 2 * self.choices.below(max(1, len(dataset.PixelData) // 2))]

    @staticmethod
    def _type(dataset: pydicom.Dataset) -> str:
        return "<i2" if dataset.PixelRepresentation else "<u2"

    def _stored(self, dataset: pydicom.Dataset) -> Any:
        stored = np.frombuffer(dataset.PixelData, self._type(dataset))
        whole = np.zeros(SHAPE[1] * SHAPE[2], stored.dtype)
        whole[: stored.size] = stored
        return whole.reshape(SHAPE[1:])


CHANGES: list[Callable[[Series], None]] = [
    Series.mix,
    Series.scale,
    Series.vanish,
    Series.rename,
    Series.rescale,
    Series.no_rescale,
    Series.pad,
    Series.odd_header,
    Series.move,
    Series.double,
    Series.split,
    Series.shorten,
]
HARMLESS = {Series.rename, Series.rescale}
"""After these alone, what is read without a warning is the whole scan with its true HU."""


class DicomTarget:
    """The calls under test."""

    def __init__(self, folder: Path) -> None:
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        self._ct, self._out, self._changed = folder / "ct", folder / "out", folder / "changed"
        self._hu = factory.ct_values(SHAPE)
        spec = factory.series(SHAPE[0], hu=self._hu)
        paths = factory.write_series(self._ct, spec)
        self._middle, self._slices = paths[1], [pydicom.dcmread(path) for path in paths]
        self._pseudonyms = Pseudonyms(bytes(32))
        self._calls = 0

    def __call__(self, data: bytes) -> None:
        """Fail on anything but a result or a named refusal."""
        self._calls += 1
        if data[:1] and data[0] % 2:
            self._one_file(data[1:])
        else:
            self._whole_series(Choices(data[1:]))

    def _one_file(self, data: bytes) -> None:
        self._middle.write_bytes(data)
        self._read(self._ct)
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            # The node refuses an object whatever this raises; it must only not hang or fill the memory.
            with suppress(Exception):
                receiver._series_uid(io.BytesIO(data[132:]), syntax)

    def _whole_series(self, choices: Choices) -> None:
        series = Series(copy.deepcopy(self._slices), choices)
        changes = [choices.of(CHANGES) for _ in range(1 + choices.below(MOST_CHANGES))]
        for change in changes:
            change(series)
        shutil.rmtree(self._changed, ignore_errors=True)
        self._write(series, choices)
        scan = self._read(self._changed)
        if scan is None or scan.source.warnings:
            return
        if HARMLESS.issuperset(changes):
            assert np.array_equal(scan.volume.array.transpose(2, 1, 0), self._hu), "wrong HU without a word"
        for change, what in ((Series.mix, "two scans read as one"), (Series.scale, "another scale taken as HU")):
            if change in changes and {*HARMLESS, change}.issuperset(changes):
                raise AssertionError(f"{what} without a word")
        hidden = series.ends_cut or {Series.move, Series.double, Series.split} & set(changes)
        if Series.vanish in changes and not hidden:
            raise AssertionError("a slice vanished without a word")

    def _write(self, series: Series, choices: Choices) -> None:
        syntax, preamble = choices.of(SYNTAXES), not choices.yes()
        folders = [self._changed / "a", self._changed / ("b" if choices.yes() else "a")]
        for number, (dataset, name) in enumerate(zip(series.slices, series.names, strict=True)):
            path = folders[number % 2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(Exception):  # what can't be written is no input
                if syntax.is_encapsulated:
                    dataset.compress(syntax, generate_instance_uid=False)
                dataset.file_meta.TransferSyntaxUID = syntax
                dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=False)
            if not path.exists():
                raise _NoInput
            if not preamble:
                path.write_bytes(path.read_bytes()[128:])

    def _read(self, folder: Path) -> Any:
        scan = None
        with suppress(InputError):
            scan = read_scan(folder)
            assert np.isfinite(scan.volume.array).all()
        if scan is not None:
            with suppress(VastusError):
                with_checked_headers(scan)
        if self._calls % DEIDENTIFY_EVERY == 0:
            with suppress(VastusError):
                deidentify_folder(folder, self._out, self._pseudonyms)
            shutil.rmtree(self._out, ignore_errors=True)
        return scan


class _NoInput(Exception):
    """A series that could not be written."""


def make_target(folder: Path) -> Target:
    """The target, which leaves out what is no input."""
    target = DicomTarget(folder)

    def run(data: bytes) -> None:
        with suppress(_NoInput):
            target(data)

    return run


def seeds() -> dict[str, bytes]:
    """Valid slices of several kinds, and changes of a series."""
    found: dict[str, bytes] = {}
    values = factory.ct_values(SHAPE)
    for name, spec in {
        "plain": factory.series(SHAPE[0], hu=values),
        "rle": factory.series(SHAPE[0], hu=values, compressed=True),
        "signed": factory.series(SHAPE[0], hu=values, signed=True, intercept=0.0),
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            path = factory.write_series(Path(folder), spec)[1]
            found[name] = b"\1" + path.read_bytes()
            if name == "plain":
                dataset = pydicom.dcmread(path)
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
                stream = io.BytesIO()
                dataset.save_as(stream, implicit_vr=True, little_endian=True)
                found["implicit"] = b"\1" + stream.getvalue()
    dice = random.Random(1)
    for number in range(60):
        # Number of changes, their kinds, then what each of them chooses.
        found[f"series{number:02d}"] = b"\0" + bytes([number % 4]) + bytes([number // 4]) + dice.randbytes(24)
    return found


if __name__ == "__main__":
    fuzz(make_target, seeds)
