"""What is known of a person, and what follows from it: stage with reasons, volumes by body size. In plain words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vastus.anatomy import BUILT_IN, SIDES, Group, Side, Structure, StructureTable
from vastus.errors import ImplausibleValueError, SettingsError
from vastus.io.csv_tables import VolumeRow
from vastus.sarcopenia import (
    HUMAN_RANGES,
    ClinicalFacts,
    Domain,
    MassMethod,
    Measure,
    Sex,
    Stage,
    TestResult,
    criteria_names,
    diagnose,
    load_criteria,
    normalise,
)
from vastus.sarcopenia.reference_values import percent_of_expected

DEFAULT_CRITERIA: Final = "awgs_2019"
_MM3_IN_ML: Final = 1000.0
_LONGEST_NUMBER: Final = 20

# Field of ``ClinicalFacts`` -> what the page calls it, and its unit.
FIELDS: Final[dict[str, tuple[str, str]]] = {
    "age_years": ("Age", "years"),
    "height_cm": ("Height", "cm"),
    "weight_kg": ("Weight", "kg"),
    "grip_kg": ("Grip strength", "kg"),
    "gait_m_s": ("Walking speed", "m/s"),
    "chair_stand_s": ("Chair stand, five times", "s"),
    "sppb": ("Short Physical Performance Battery (SPPB)", "points"),
    "tug_s": ("Timed up and go", "s"),
    "asm_kg": ("Muscle mass of arms and legs", "kg"),
    "smi_kg_m2": ("The same / height squared (SMI)", "kg/m²"),
    "calf_cm": ("Calf circumference", "cm"),
    "sarc_f": ("SARC-F", "points"),
    "sarc_calf": ("SARC-CalF", "points"),
}
_MEASURE_WORDS: Final[dict[Measure, tuple[str, str]]] = {
    Measure.GRIP: ("Grip strength", "kg"),
    Measure.GAIT: ("Walking speed", "m/s"),
    Measure.CHAIR_STAND: ("Chair stand, five times", "s"),
    Measure.SPPB: ("SPPB", "points"),
    Measure.TUG: ("Timed up and go", "s"),
    Measure.ASM_HEIGHT2: ("Muscle mass of arms and legs / height squared", "kg/m²"),
    Measure.ASM: ("Muscle mass of arms and legs", "kg"),
    Measure.ASM_BMI: ("Muscle mass of arms and legs / BMI", "m²"),
    Measure.CALF: ("Calf circumference", "cm"),
    Measure.SARC_F: ("SARC-F", "points"),
    Measure.SARC_CALF: ("SARC-CalF", "points"),
}
_DOMAIN_WORDS: Final[dict[Domain, str]] = {
    Domain.STRENGTH: "Strength",
    Domain.MASS: "Muscle mass",
    Domain.PERFORMANCE: "Physical performance",
    Domain.SCREENING: "Screening",
}
GROUP_WORDS: Final[dict[Group, str]] = {
    Group.ANTERIOR: "Front of the thigh",
    Group.MEDIAL: "Inner thigh",
    Group.POSTERIOR: "Back of the thigh",
    Group.GLUTEAL: "Buttock",
    Group.OTHER: "Trunk and hip flexors",
    Group.BONE: "Bones",
}


def form() -> dict[str, Any]:
    """What the page asks: fields with unit and range, and the criteria that can be chosen."""
    fields = []
    for name, (label, unit) in FIELDS.items():
        low, high, _ = HUMAN_RANGES[name]
        fields.append({"name": name, "label": label, "unit": unit, "low": low, "high": high})
    criteria = [{"key": key, "name": load_criteria(key).name} for key in criteria_names()]
    return {"fields": fields, "criteria": criteria, "default": DEFAULT_CRITERIA}


def tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are kept: only known names, numbers as numbers, nothing that is empty.

    Raises:
        SettingsError: a text that is not a number, or an unknown word.
        ImplausibleValueError: outside the human range.
    """
    kept: dict[str, Any] = {}
    for name, (label, _) in FIELDS.items():
        given = values.get(name)
        if given not in (None, ""):
            kept[name] = _number(given, label)
    if values.get("sex"):
        sex = Sex.from_word(str(values["sex"]))
        assert sex is not None
        kept["sex"] = sex.value
    if values.get("mass_method"):
        if values["mass_method"] not in {method.value for method in MassMethod}:
            raise SettingsError("Muscle mass is measured by DXA or BIA.")
        kept["mass_method"] = values["mass_method"]
    criteria = str(values.get("criteria") or DEFAULT_CRITERIA)
    if criteria not in criteria_names():
        raise SettingsError("These criteria are not known.")
    facts_of(kept)
    return kept | {"criteria": criteria}


def facts_of(kept: Mapping[str, Any]) -> ClinicalFacts:
    """Kept values as clinical facts.

    Raises:
        ImplausibleValueError: outside the human range; the message uses the page's words.
    """
    numbers = {name: float(kept[name]) for name in FIELDS if name in kept}
    method = kept.get("mass_method")
    try:
        return ClinicalFacts(
            sex=Sex.from_word(kept.get("sex")), mass_method=MassMethod(method) if method else None, **numbers
        )
    except ImplausibleValueError as error:
        raise _in_words(error) from error


def said_of(kept: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stage by the chosen criteria, with every test and what is missing; None where nothing was entered."""
    facts = facts_of(kept)
    if facts == ClinicalFacts():
        return None
    criteria = load_criteria(str(kept.get("criteria") or DEFAULT_CRITERIA))
    found = diagnose(facts, criteria)
    return {
        "criteria": criteria.name,
        "source": criteria.source,
        "note": criteria.note,
        "stage": found.stage.value,
        "label": _first_upper("not decided yet" if found.stage is Stage.UNDETERMINED else found.label),
        "at_most": "" if found.at_most is found.stage else criteria.label(found.at_most),
        "tests": [_test(test) for test in found.tests if _tells(test)],
        "missing": [_MEASURE_WORDS[measure][0] for measure in found.missing],
        "domains": [
            {"name": _DOMAIN_WORDS[domain], "finding": finding.value}
            for domain, finding in found.domains.items()
            if domain is not Domain.SCREENING
        ],
    }


def volume_table(
    rows: Iterable[VolumeRow], kept: Mapping[str, Any], structures: StructureTable = BUILT_IN
) -> list[dict[str, Any]]:
    """A row a structure, with the sum of each group before its members.

    Volumes in mL; by height squared in cm3/m2 and by weight in cm3/kg for both sides together. A sum, and what is
    divided by body size, is given only where both sides are whole: a part is not comparable. What lies in the midline
    stands among the sums, as it has no side.
    """
    facts = facts_of(kept)
    by_place = {(row.structure, row.side): row for row in rows}
    table: list[dict[str, Any]] = []
    for group in structures.groups if not structures.is_built_in else GROUP_WORDS:
        members = tuple(structures.structures_of(group))
        lines = [_structure(structure, by_place, facts) for structure in members]
        totals = [line["both_ml"] for line, structure in zip(lines, members, strict=True) if structure.is_muscle]
        whole = sum(totals) if totals and None not in totals else None
        name = GROUP_WORDS.get(group, group.title)
        table.append({"name": name, "group": True, "right_ml": None, "left_ml": None} | _by_size(whole, facts))
        table += lines
    return table


def _structure(
    structure: Structure, by_place: Mapping[tuple[str, Side], VolumeRow], facts: ClinicalFacts
) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    whole: list[float | None] = []
    for side in SIDES:
        row = by_place.get((structure.key, side))
        volume = None if row is None or row.fragment else row.volume_mm3
        cut = row is not None and row.truncated
        complete = None if cut else volume
        whole.append(complete)
        sides[f"{side.value}_ml"] = None if volume is None else round(volume / _MM3_IN_ML, 1)
        sides[f"{side.value}_cut"] = cut
        expected = None if complete is None else percent_of_expected(structure.key, complete, facts)
        sides[f"{side.value}_expected"] = None if expected is None else round(expected)
    if not structure.paired:
        row = by_place.get((structure.key, Side.MIDLINE))
        whole = [None if row is None or row.fragment or row.truncated else row.volume_mm3]
    known = [volume for volume in whole if volume is not None]
    both = sum(known) / _MM3_IN_ML if len(known) == len(whole) else None
    return (
        {"name": structure.english[:1].upper() + structure.english[1:], "group": False} | sides | _by_size(both, facts)
    )


def _by_size(both_ml: float | None, facts: ClinicalFacts) -> dict[str, Any]:
    if both_ml is None:
        return {"both_ml": None, "per_height2": None, "per_kg": None}
    index = normalise(both_ml * _MM3_IN_ML, facts)
    return {
        "both_ml": round(both_ml, 1),
        "per_height2": None if index.per_height2_cm3_m2 is None else round(index.per_height2_cm3_m2, 1),
        "per_kg": None if index.per_mass_cm3_kg is None else round(index.per_mass_cm3_kg, 2),
    }


def _tells(test: TestResult) -> bool:
    return not test.text.endswith("not known") or test.undecided


def _test(test: TestResult) -> dict[str, str]:
    name, unit = _MEASURE_WORDS[test.measure]
    text = test.text.replace(f"{test.measure.value} ", "").replace(f"{test.measure.value}: ", "")
    for sign, word in (
        ("not <= ", "above "),
        ("not >= ", "below "),
        ("not < ", "not below "),
        ("not > ", "not above "),
    ):
        text = text.replace(sign, f"is {word}")
    for sign, word in (("<= ", "at most "), (">= ", "at least "), ("< ", "below "), ("> ", "above ")):
        text = text.replace(sign, f"is {word}")
    return {
        "domain": _DOMAIN_WORDS[test.domain],
        "name": name,
        "unit": unit,
        "finding": test.finding.value,
        "text": text,
    }


def _number(given: Any, label: str) -> float:
    """A number as people type it, with a comma or a point."""
    text = str(given).strip().replace(",", ".")
    try:
        if len(text) > _LONGEST_NUMBER or isinstance(given, bool):
            raise ValueError
        return float(text)
    except ValueError as error:
        raise SettingsError(f"{label}: this is not a number.", remedy="Type digits, for example 27.5.") from error


def _in_words(error: ImplausibleValueError) -> SettingsError:
    """The same refusal with the page's words in place of the fields' names."""
    problem = error.problem
    for field in dataclasses.fields(ClinicalFacts):
        if field.name in FIELDS:
            problem = problem.replace(field.name, FIELDS[field.name][0])
    return SettingsError(problem, remedy=error.remedy)


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
