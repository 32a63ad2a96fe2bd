"""What may stay in a de-identified CT image: a list of what is kept, so that whatever nobody thought of goes.

The lists hold what a reader needs to know of the pixels and their place, and how the image was taken. Values are looked
at as well: a code string must be one, a number a number, a text of a device plain ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UIDS: Final = _words("""
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID DimensionOrganizationUID
    ConcatenationUID SOPInstanceUIDOfConcatenationSource
""")
DATES: Final = _words("""
    StudyDate SeriesDate AcquisitionDate ContentDate AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime
""")
EMPTIED: Final = _words("""
    PatientBirthDate PatientSex ReferringPhysicianName StudyID AccessionNumber StudyTime SeriesTime AcquisitionTime
    ContentTime PositionReferenceIndicator
""")
"""Kept without a value where they are: DICOM wants most of them to be there."""
SEQUENCES: Final = _words("""
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence
    PlaneOrientationSequence FrameContentSequence PixelValueTransformationSequence FrameVOILUTSequence
    FrameAnatomySequence AnatomicRegionSequence CTImageFrameTypeSequence CTAcquisitionTypeSequence
    CTAcquisitionDetailsSequence CTTableDynamicsSequence CTPositionSequence CTGeometrySequence CTReconstructionSequence
    CTExposureSequence CTXRayDetailsSequence DimensionOrganizationSequence DimensionIndexSequence
""")
DEVICE_TEXTS: Final = _words("""
    Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel
""")
NUMBERS: Final = _words("""
    InstanceNumber AcquisitionNumber SeriesNumber ImagesInAcquisition NumberOfFrames TemporalPositionIdentifier
    NumberOfTemporalPositions SliceLocation SliceThickness SpacingBetweenSlices PixelSpacing ImageOrientationPatient
    ImagePositionPatient GantryDetectorTilt TableHeight SamplesPerPixel Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation PlanarConfiguration PixelAspectRatio SmallestImagePixelValue LargestImagePixelValue
    PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope WindowCenter WindowWidth
    LossyImageCompressionRatio KVP XRayTubeCurrent XRayTubeCurrentInuA XRayTubeCurrentInmA Exposure ExposureInuAs
    ExposureInmAs ExposureTime ExposureTimeInuS ExposureTimeInms GeneratorPower FocalSpots DataCollectionDiameter
    ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient DistanceSourceToDataCollectionCenter
    RevolutionTime SingleCollimationWidth TotalCollimationWidth TableSpeed TableFeedPerRotation SpiralPitchFactor
    CTDIvol DataCollectionCenterPatient ReconstructionTargetCenterPatient TablePosition
    ReconstructionFieldOfView ReconstructionPixelSpacing ReconstructionAngle TubeAngle AcquisitionDuration
    FrameAcquisitionDuration FrameAcquisitionNumber DimensionIndexValues DimensionIndexPointer FunctionalGroupPointer
    InStackPositionNumber TemporalPositionIndex InConcatenationNumber ConcatenationFrameOffsetNumber
    InConcatenationTotalNumber CalciumScoringMassFactorDevice CalciumScoringMassFactorPatient WaterEquivalentDiameter
    ExtendedOffsetTable ExtendedOffsetTableLengths PixelData
""")
CODE_STRINGS: Final = _words("""
    ImageType FrameType BodyPartExamined ScanOptions ExposureModulationType AcquisitionType ReconstructionAlgorithm
    ConvolutionKernelGroup FilterType VolumetricProperties VolumeBasedCalculationTechnique PixelPresentation
    DimensionOrganizationType LossyImageCompressionMethod
""")
_POSITIONS: Final = frozenset(
    f"{head}{side}" for head in ("HF", "FF", "LF", "RF", "AF", "PF") for side in ("S", "P", "DR", "DL")
)
_SIDES: Final = frozenset({"R", "L", "U", "B"})
_YES_NO: Final = frozenset({"YES", "NO"})
ENUMERATED: Final[Mapping[str, frozenset[str]]] = {
    "Modality": frozenset({"CT"}),
    "PhotometricInterpretation": frozenset({"MONOCHROME1", "MONOCHROME2"}),
    "PatientPosition": _POSITIONS,
    "RotationDirection": frozenset({"CW", "CC"}),
    "RescaleType": frozenset({"HU", "US", "HU_MOD", "HU_PE"}),
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
    "PresentationLUTShape": frozenset({"IDENTITY", "INVERSE"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "BurnedInAnnotation": _YES_NO,
    "RecognizableVisualFeatures": _YES_NO,
    "QuantitativeImage": _YES_NO,
    "ConstantVolumeFlag": _YES_NO,
    "FluoroscopyFlag": _YES_NO,
    "Laterality": _SIDES,
    "ImageLaterality": _SIDES,
    "FrameLaterality": _SIDES,
}
_TEXT: Final = re.compile(r"[\x20-\x7e]{0,64}")
_CODE_STRING: Final = re.compile(r"[A-Z0-9_ ]{0,16}")
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


@cache
def kept_tags() -> Mapping[int, str]:
    """Tag -> keyword of what may stay, changed or not. What the profile deletes or replaces by a dummy never may."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions
    from pydicom.datadict import tag_for_keyword

    changed = UIDS | DATES | EMPTIED | SEQUENCES
    found = {}
    profile = {(int(tag[0]) << 16) | int(tag[1]) for tag in initialize_actions() if len(tag) == 2}
    for keyword in (*changed, *DEVICE_TEXTS, *NUMBERS, *CODE_STRINGS, *ENUMERATED, "SpecificCharacterSet", "StackID"):
        tag = tag_for_keyword(keyword)
        if tag is not None and (keyword in changed or tag not in profile):
            found[tag] = keyword
    return found


@cache
def _vrs_of(tag: int) -> frozenset[str]:
    from pydicom.datadict import dictionary_VR

    return frozenset(dictionary_VR(tag).split(" or "))


def may_stay(element: Any) -> bool:
    """Whether an attribute is on the list, and of the kind that the standard gives it."""
    return int(element.tag) in kept_tags() and str(element.VR) in _vrs_of(int(element.tag))


def is_harmless(keyword: str, value: object) -> bool:
    """Whether one value is of the form that its attribute has; for texts, code strings and decimal numbers."""
    text = str(value)
    if keyword in ENUMERATED:
        return text in ENUMERATED[keyword]
    if keyword in DEVICE_TEXTS:
        return _TEXT.fullmatch(text) is not None
    if keyword in CODE_STRINGS:
        return _CODE_STRING.fullmatch(text) is not None
    if keyword == "StackID":
        return text.isascii() and text.isdigit() and len(text) <= 4
    if keyword == "SpecificCharacterSet":
        return text in _character_sets()
    return _NUMBER.fullmatch(text) is not None


def standard_codes(items: Any) -> list[Any]:
    """Codes that stand in the tables of the standard, written anew with their meaning there; all others go."""
    from pydicom import Dataset

    found = []
    for item in items:
        scheme, value = (str(item.get(k, "")) for k in ("CodingSchemeDesignator", "CodeValue"))
        meaning = _meanings().get((scheme, value))
        if meaning is not None:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
            found.append(code)
    return found


@cache
def _meanings() -> Mapping[tuple[str, str], str]:
    from pydicom.sr import _concepts_dict, _snomed_dict

    concepts: Any = _concepts_dict.concepts
    mapping: Any = _snomed_dict.mapping
    found = {
        (scheme, code): str(meaning)
        for scheme in ("SCT", "DCM")
        for codes in concepts[scheme].values()
        for code, (meaning, _) in codes.items()
    }
    # The older numbering of SNOMED, as most scanners still write it.
    for old, new in mapping["SRT"].items():
        if ("SCT", new) in found:
            found[("SRT", old)] = found[("SCT", new)]
    return found


@cache
def _character_sets() -> frozenset[str]:
    from pydicom.charset import python_encoding

    return frozenset(python_encoding)
