"""A CT image with identifiers planted in every place that was thought of, each with a text of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
TEXTS = """
    PatientAddress PatientBirthName PatientMotherBirthName OtherPatientNames OtherPatientIDs PatientComments EthnicGroup
    Occupation AdditionalPatientHistory PatientTelephoneNumbers MedicalRecordLocator MilitaryRank BranchOfService
    CountryOfResidence RegionOfResidence PatientReligiousPreference MedicalAlerts Allergies SpecialNeeds PatientState
    CurrentPatientLocation PatientInsurancePlanCodeSequence AccessionNumber StudyID StudyDescription SeriesDescription
    ReferringPhysicianName ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers PerformingPhysicianName
    OperatorsName PhysiciansOfRecord NameOfPhysiciansReadingStudy ConsultingPhysicianName RequestingPhysician
    InstitutionName InstitutionAddress InstitutionalDepartmentName StationName DeviceSerialNumber ProtocolName
    GantryID DetectorID PlateID CassetteID ImageComments FrameComments AcquisitionComments RequestingService
    PerformedProcedureStepID PerformedProcedureStepDescription CommentsOnThePerformedProcedureStep
    PerformedStationAETitle PerformedStationName PerformedLocation RequestedProcedureDescription RequestedProcedureID
    RequestedProcedureComments ScheduledProcedureStepDescription AdmissionID IssuerOfPatientID IssuerOfAdmissionID
    ServiceEpisodeID ServiceEpisodeDescription VisitComments DischargeDiagnosisDescription AdmittingDiagnosesDescription
    DerivationDescription ContrastBolusAgent AcquisitionProtocolDescription UniqueDeviceIdentifier DeviceLabel
    DeviceDescription LongDeviceDescription ManufacturerDeviceIdentifier StudyComments InterpretationText
    IdentifyingComments ResponsiblePerson ResponsibleOrganization ClinicalTrialSubjectID ClinicalTrialSiteName
    ClinicalTrialProtocolID TextComments TextString DataPathID ReviewerName ContentCreatorName ContentLabel
    ContentDescription PatientAlternativeCalendar PositionReferenceIndicator ImageID OverlayComments CurveData
    WindowCenterWidthExplanation PresentationLabel FilterMaterial ReconstructionMethod StorageMediaFileSetID
"""
NESTED = (
    ("RequestAttributesSequence", "ScheduledProcedureStepID"),
    ("OtherPatientIDsSequence", "PatientID"),
    ("ReferencedImageSequence", "PatientName"),
    ("ProcedureCodeSequence", "CodeMeaning"),
    ("SourceImageSequence", "InstitutionName"),
    ("ReferencedStudySequence", "StudyDescription"),
    ("AnatomicRegionSequence", "CodeMeaning"),
    ("AnatomicRegionSequence", "PatientName"),
    ("OriginalAttributesSequence", "SourceOfPreviousValues"),
    ("PersonIdentificationCodeSequence", "PersonAddress"),
    ("DerivationImageSequence", "DerivationDescription"),
    ("FrameContentSequence", "FrameComments"),
    ("SharedFunctionalGroupsSequence", "ImageComments"),
    ("PerFrameFunctionalGroupsSequence", "PatientComments"),
    ("ContributingEquipmentSequence", "StationName"),
    ("ContributingEquipmentSequence", "OperatorsName"),
    ("ReferringPhysicianIdentificationSequence", "InstitutionName"),
    ("ConceptNameCodeSequence", "CodeMeaning"),
)
DATES = (
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "PatientBirthDate",
    "LastMenstrualDate",
    "DateOfLastCalibration",
    "PerformedProcedureStepStartDate",
    "InstanceCreationDate",
    "ScheduledProcedureStepStartDate",
    "AdmittingDate",
)
TIMES = (
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "ContentTime",
    "PatientBirthTime",
    "PerformedProcedureStepStartTime",
    "InstanceCreationTime",
)
MOMENTS = ("AcquisitionDateTime", "FrameReferenceDateTime", "FrameAcquisitionDateTime")
UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPInstanceUID",
    "IrradiationEventUID",
    "DimensionOrganizationUID",
    "StorageMediaFileSetUID",
    "DeviceUID",
)
PRETENDED = "1.2.840.10008.5.1.4.1.1.2.47110815"
NAME = "Miller Stone^Anna Lea=金^吉童=김^길동"
NAMED = (
    "MILLER",
    "Stone-Anna",
    "AnnaStone",
    "stoneanna",
    "MillerStone",
    "Lea Anna",
    "AnnaMillerStone",
    "A. Miller",
    "MillerA",
    "김길동",
    "길동김",
    "김 길동",
    "金吉童",
    "吉童金",
    "Kernel of 길동",
    "x김길동y",
    "4711-08-15",
    "47110815",
)
"""The patient's name and number as people write them: run together, in either order, with initials."""


@dataclass
class Planted:
    """A data set, and what must not be found in its copy.

    Attributes:
        marks: texts, each planted once, by place.
        named: forms of the name, each alone in a field that is kept.
    """

    dataset: FileDataset
    marks: dict[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = NAMED
    file_name: str = ""

    @property
    def count(self) -> int:
        return len(self.marks) + len(self.named)

    def left_in(self, copy: Path) -> list[str]:
        """The places whose identifier is still in a file, its names included."""
        content, found = copy.read_bytes() + copy.name.encode(), pydicom.dcmread(copy)
        left = [place for place, mark in self.marks.items() if mark.encode() in content]
        kernels = [str(item.get("ConvolutionKernel")) for item in found.CTReconstructionSequence]
        return left + [text for text in self.named if text in kernels]


def planted() -> Planted:
    """Build it; every call gives other UIDs."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CT, ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made = Planted(dataset)
    marks = _marks(made)
    dataset.SpecificCharacterSet, dataset.SOPClassUID, dataset.Modality = "ISO_IR 192", CT, "CT"
    dataset.PatientName, dataset.PatientID = NAME, "4711-08-15"
    _plant_texts(made, marks)
    _plant_numbers(made)
    _plant_groups(made, marks)
    _plant_names(made)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 2, 2, 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP = "1", "-1024", "120"
    dataset.PixelData = np.arange(4, dtype="<u2").tobytes() + next(marks("behind the pixels")).encode()
    dataset["PixelData"].VR = "OW"
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.SourceApplicationEntityTitle = next(marks("file meta: source"))
    meta.ImplementationVersionName = next(marks("file meta: version"))
    meta.PrivateInformationCreatorUID = "1.2.3"
    meta.PrivateInformation = next(marks("file meta: private")).encode()
    dataset.preamble = next(marks("preamble")).encode().ljust(128, b"\0")
    made.file_name = next(marks("file name")) + ".dcm"
    return made


def _marks(made: Planted) -> Callable[[str], Iterator[str]]:
    def mark(place: str) -> Iterator[str]:
        text = f"ZQ{len(made.marks):03d}XW"
        made.marks[place] = text
        yield text

    return mark


def _plant_texts(made: Planted, marks: Callable[[str], Iterator[str]]) -> None:
    dataset = made.dataset
    for keyword in TEXTS.split():
        if pydicom.datadict.tag_for_keyword(keyword) is None or keyword.endswith("Sequence"):
            continue
        vr = pydicom.datadict.dictionary_VR(keyword)
        if vr in ("LO", "SH", "PN", "LT", "ST", "UT", "CS", "AE", "UC"):
            setattr(dataset, keyword, next(marks(keyword)))
    for sequence, keyword in NESTED:
        item, deeper = Dataset(), Dataset()
        setattr(item, keyword, next(marks(f"{sequence}.{keyword}")))
        deeper.PatientName = next(marks(f"{sequence}.{keyword}.ReferencedPatientSequence"))
        item.ReferencedPatientSequence = [deeper]
        setattr(dataset, sequence, [*(dataset.get(sequence) or []), item])


def _plant_numbers(made: Planted) -> None:
    """Dates, times and UIDs: as they are in the original they must not come out."""
    dataset = made.dataset
    for number, keyword in enumerate(DATES):
        made.marks[keyword] = f"1997{number % 12 + 1:02d}{number + 11:02d}"
        setattr(dataset, keyword, made.marks[keyword])
    for number, keyword in enumerate(TIMES):
        made.marks[keyword] = f"1327{number + 11:02d}.4{number}7"
        setattr(dataset, keyword, made.marks[keyword])
    for number, keyword in enumerate(MOMENTS):
        made.marks[f"{keyword}: time"] = f"0952{number + 11:02d}.{number}31"
        setattr(dataset, keyword, f"20010203{made.marks[f'{keyword}: time']}")
    for keyword in UIDS:
        made.marks[keyword] = str(generate_uid())
        setattr(dataset, keyword, made.marks[keyword])
    made.marks["a UID that pretends to be the standard's"] = PRETENDED
    dataset.ConcatenationUID = PRETENDED


def _plant_groups(made: Planted, marks: Callable[[str], Iterator[str]]) -> None:
    dataset = made.dataset
    for group in (0x6000, 0x6002, 0x601E):
        dataset.add_new((group << 16) | 0x0022, "LO", next(marks(f"overlay {group:x} description")))
        dataset.add_new((group << 16) | 0x1500, "LO", next(marks(f"overlay {group:x} label")))
        dataset.add_new((group << 16) | 0x4000, "LT", next(marks(f"overlay {group:x} comments")))
        dataset.add_new((group << 16) | 0x3000, "OW", next(marks(f"overlay {group:x} bits")).encode() + b" ")
    for group in (0x5000, 0x5002):
        dataset.add_new((group << 16) | 0x0022, "LO", next(marks(f"curve {group:x} description")))
        dataset.add_new((group << 16) | 0x2500, "LO", next(marks(f"curve {group:x} label")))
    for tag, vr in ((0x00189999, "LO"), (0x00200FFF, "LT"), (0x40010001, "SH"), (0x7FE00FFF, "UT"), (0x00099998, "OB")):
        if tag >> 16 & 1 == 0:
            dataset.add_new(tag, vr, next(marks(f"unknown {tag:08x}")))
    block = dataset.private_block(0x0029, "MAKER", create=True)
    inner = Dataset()
    inner.PatientName = next(marks("private sequence"))
    block.add_new(0x10, "LO", next(marks("private text")))
    block.add_new(0x11, "SQ", [inner])
    block.add_new(0x12, "OB", next(marks("private bytes")).encode() + b" ")
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.PixelRepresentation = 1, 1, 8, 0
    icon.PixelData, icon.ImageComments = next(marks("icon pixels")).encode() + b" ", next(marks("icon comment"))
    dataset.IconImageSequence = [icon]
    dataset.add_new(0x00181210 + 2, "LO", next(marks("unknown beside a kernel")))
    dataset.add_new(0xFFFCFFFC, "OB", next(marks("trailing padding")).encode() + b" ")


def _plant_names(made: Planted) -> None:
    items = []
    for text in made.named:
        item = Dataset()
        item.ConvolutionKernel = text
        items.append(item)
    made.dataset.CTReconstructionSequence = items
