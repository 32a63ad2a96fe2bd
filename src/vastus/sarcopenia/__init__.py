"""Sarcopenia: published criteria as data, diagnosis with its reason, and normalised volumes."""

from vastus.sarcopenia.clinical import HUMAN_RANGES, ClinicalFacts, MassMethod, check_human_range
from vastus.sarcopenia.criteria import (
    Comparison,
    Criteria,
    Cutoff,
    Domain,
    Measure,
    Stage,
    StageRule,
    criteria_names,
    load_criteria,
    parse_criteria,
)
from vastus.sarcopenia.diagnosis import Diagnosis, DomainResult, TestResult, diagnose
from vastus.sarcopenia.normalisation import VolumeIndices, check_volume_unit, normalise
from vastus.sex import Sex

__all__ = [
    "HUMAN_RANGES",
    "ClinicalFacts",
    "Comparison",
    "Criteria",
    "Cutoff",
    "Diagnosis",
    "Domain",
    "DomainResult",
    "MassMethod",
    "Measure",
    "Sex",
    "Stage",
    "StageRule",
    "TestResult",
    "VolumeIndices",
    "check_human_range",
    "check_volume_unit",
    "criteria_names",
    "diagnose",
    "load_criteria",
    "normalise",
    "parse_criteria",
]
