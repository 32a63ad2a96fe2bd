"""From clinical values and criteria to a stage with its reason: three-valued logic, never a guess.

Each domain (strength, mass, performance) is low, normal or unknown. It is low as soon as one of its tests is low,
normal when at least one is known, none is low and none waits for the person's sex, age or method. A stage is certain
when the known domains suffice, whatever the unknown ones are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vastus.sarcopenia.clinical import ClinicalFacts
from vastus.sarcopenia.criteria import Criteria, Cutoff, Domain, Measure, Stage, StageRule
from vastus.sex import Sex


class DomainResult(Enum):
    """State of a test or a domain."""

    LOW = "low"
    NORMAL = "normal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One measure against its cut-off, in words in ``text``.

    ``undecided``: there is a value, but the person's sex, age or method, which decides between cut-offs, is not known.
    """

    domain: Domain
    measure: Measure
    finding: DomainResult
    text: str
    undecided: bool = False

    __test__ = False  # not a test case, whatever pytest makes of the name


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Result of ``diagnose``.

    Attributes:
        criteria: key of the criteria.
        stage: the certain stage; ``UNDETERMINED`` when none is reached for certain and one is still possible.
        at_most: the most severe stage that the missing values leave open; equals ``stage`` when all is settled.
        label: the word of the criteria for ``stage``.
        reason: in words, with values, cut-offs and what is missing.
        domains: finding of strength, mass and performance, and of screening where the criteria have it.
        tests: the measures compared.
        missing: measures that could still settle an open stage.
    """

    criteria: str
    stage: Stage
    at_most: Stage
    label: str
    reason: str
    domains: dict[Domain, DomainResult]
    tests: tuple[TestResult, ...]
    missing: tuple[Measure, ...]

    @property
    def has_sarcopenia(self) -> bool | None:
        """True for sarcopenia or severe sarcopenia, False if both are excluded, None if values are missing."""
        if self.stage in (Stage.SARCOPENIA, Stage.SEVERE):
            return True
        return None if self.at_most in (Stage.SARCOPENIA, Stage.SEVERE) else False


def diagnose(facts: ClinicalFacts, criteria: Criteria) -> Diagnosis:
    """Apply criteria to one person.

    Args:
        facts: clinical values of the person; unknown values stay None.
        criteria: cut-offs and rules, from ``load_criteria``.

    Returns:
        The stage that is certain, the most severe stage that is possible, and the reason in words.
    """
    tests: list[TestResult] = []
    domains: dict[Domain, DomainResult] = {}
    for domain in dict.fromkeys(cutoff.domain for cutoff in criteria.cutoffs):
        results = _test_domain(facts, [c for c in criteria.cutoffs if c.domain is domain])
        tests.extend(results)
        domains[domain] = _any_low(results)
    certain, at_most = Stage.NONE, Stage.NONE
    for rule in criteria.rules:
        finding = _apply(rule, domains)
        if finding is DomainResult.LOW:
            certain = rule.stage
        if finding is not DomainResult.NORMAL:
            at_most = rule.stage
    stage = Stage.UNDETERMINED if certain is Stage.NONE and at_most is not Stage.NONE else certain
    missing = _missing(criteria, domains, tests) if at_most is not certain else ()
    reason = _reason(criteria, (stage, at_most), tests, missing)
    return Diagnosis(criteria.key, stage, at_most, criteria.label(stage), reason, domains, tuple(tests), missing)


def value_of(facts: ClinicalFacts, measure: Measure) -> float | None:
    """Return the value to compare with a cut-off of this measure, derived if possible (ASM from SMI ...)."""
    if measure is Measure.ASM_HEIGHT2:
        return facts.asm_height2_kg_m2
    if measure is Measure.ASM:
        return facts.asm_total_kg
    if measure is Measure.ASM_BMI:
        return facts.asm_bmi_m2
    value: float | None = getattr(facts, measure.value)
    return value


def _test_domain(facts: ClinicalFacts, cutoffs: list[Cutoff]) -> list[TestResult]:
    """Test every measure of one domain; fallbacks count only if the others say nothing, whatever is still unknown."""
    chosen: list[TestResult] = []
    for fallback in (False, True):
        rows = [c for c in cutoffs if c.fallback is fallback]
        if fallback and (not rows or any(r.undecided or r.finding is not DomainResult.UNKNOWN for r in chosen)):
            break
        for measure in dict.fromkeys(c.measure for c in rows):
            chosen.append(_test_measure(facts, measure, [c for c in rows if c.measure is measure]))
    return chosen


def _test_measure(facts: ClinicalFacts, measure: Measure, cutoffs: list[Cutoff]) -> TestResult:
    """Test one measure against all cut-offs that may apply; if they give different answers, it is unknown."""
    domain = cutoffs[0].domain
    value = value_of(facts, measure)
    if value is None:
        return TestResult(domain, measure, DomainResult.UNKNOWN, f"{measure.value} not known")
    sexes = (facts.sex,) if facts.sex is not None else tuple(Sex)
    low: set[bool] = set()
    comparisons: list[str] = []
    for cutoff in cutoffs:
        if cutoff.method is not None and facts.mass_method not in (None, cutoff.method):
            continue
        band = cutoff.age_years
        if band is not None and facts.age_years is not None and not band[0] <= facts.age_years < band[1]:
            continue
        for sex in sexes:
            threshold = cutoff.threshold(sex)
            is_low = cutoff.low_if.holds(value, threshold)
            low.add(is_low)
            sign = "" if is_low else "not "
            comparisons.append(f"{measure.value} {value:.4g} {sign}{cutoff.low_if.value} {threshold:g}")
    if len(low) == 1:
        return TestResult(
            domain,
            measure,
            DomainResult.LOW if low.pop() else DomainResult.NORMAL,
            " and ".join(dict.fromkeys(comparisons)),
        )
    if not low:
        return TestResult(domain, measure, DomainResult.UNKNOWN, f"{measure.value}: no cut-off for this method or age")
    question = f"{measure.value} {value:.4g}: {_open_question(facts, cutoffs)} not known"
    return TestResult(domain, measure, DomainResult.UNKNOWN, question, undecided=True)


def _open_question(facts: ClinicalFacts, cutoffs: list[Cutoff]) -> str:
    """Say which facts are needed before the cut-offs of one measure agree."""
    unknown = []
    if facts.sex is None and any(c.men != c.women for c in cutoffs):
        unknown.append("sex")
    if facts.age_years is None and any(c.age_years is not None for c in cutoffs):
        unknown.append("age")
    if facts.mass_method is None and len({c.method for c in cutoffs}) > 1:
        unknown.append("method (dxa or bia)")
    return " or ".join(unknown)


def _any_low(results: list[TestResult]) -> DomainResult:
    findings = {result.finding for result in results}
    if DomainResult.LOW in findings:
        return DomainResult.LOW
    if any(result.undecided for result in results):
        return DomainResult.UNKNOWN
    return DomainResult.NORMAL if DomainResult.NORMAL in findings else DomainResult.UNKNOWN


def _apply(rule: StageRule, domains: dict[Domain, DomainResult]) -> DomainResult:
    """Return LOW if the stage is reached, NORMAL if it can't be, UNKNOWN if it is open (Kleene's logic)."""
    parts = [domains[domain] for domain in rule.all_of]
    if rule.any_of:
        options = {domains[domain] for domain in rule.any_of}
        for finding in (DomainResult.LOW, DomainResult.UNKNOWN, DomainResult.NORMAL):
            if finding in options:
                parts.append(finding)
                break
    if DomainResult.NORMAL in parts:
        return DomainResult.NORMAL
    return DomainResult.UNKNOWN if DomainResult.UNKNOWN in parts else DomainResult.LOW


def _missing(criteria: Criteria, domains: dict[Domain, DomainResult], tests: list[TestResult]) -> tuple[Measure, ...]:
    asked = {domain for rule in criteria.rules for domain in (*rule.all_of, *rule.any_of)}
    unknown = {domain for domain in asked if domains[domain] is DomainResult.UNKNOWN}
    return tuple(t.measure for t in tests if t.domain in unknown and t.finding is DomainResult.UNKNOWN)


def _reason(
    criteria: Criteria, span: tuple[Stage, Stage], tests: list[TestResult], missing: tuple[Measure, ...]
) -> str:
    stage, at_most = span
    counted = [t for t in tests if t.domain is not Domain.SCREENING]
    clauses = [
        f"{finding.value}: " + "; ".join(f"{t.domain.value} ({t.text})" for t in counted if t.finding is finding)
        for finding in (DomainResult.LOW, DomainResult.NORMAL)
        if any(t.finding is finding for t in counted)
    ]
    text = f"{criteria.name}: {criteria.label(stage)}."
    if clauses:
        text += " " + ". ".join(clause[0].upper() + clause[1:] for clause in clauses) + "."
    if missing:
        open_texts = [t.text for t in counted if t.measure in missing and t.finding is DomainResult.UNKNOWN]
        text += f" Open up to {criteria.label(at_most)}: {'; '.join(open_texts)}."
    return text
