"""Published cut-offs as data: TOML files beside this module, or a user's own file in the same form."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any

from vastus.errors import MissingInputError, SettingsError
from vastus.sarcopenia.clinical import MassMethod
from vastus.sex import Sex


class Domain(Enum):
    """What a test says something about."""

    STRENGTH = "strength"
    MASS = "mass"
    PERFORMANCE = "performance"
    SCREENING = "screening"


class Measure(Enum):
    """What a cut-off is compared with. The value is the name in the TOML file and carries the unit."""

    GRIP = "grip_kg"
    GAIT = "gait_m_s"
    CHAIR_STAND = "chair_stand_s"
    SPPB = "sppb"
    TUG = "tug_s"
    ASM_HEIGHT2 = "asm_height2_kg_m2"
    ASM = "asm_kg"
    ASM_BMI = "asm_bmi_m2"
    CALF = "calf_cm"
    SARC_F = "sarc_f"
    SARC_CALF = "sarc_calf"


class Comparison(Enum):
    """When a value counts as low (as abnormal, for times and scores)."""

    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="

    def holds(self, value: float, threshold: float) -> bool:
        """Tell whether ``value`` is on the abnormal side."""
        return {
            Comparison.BELOW: value < threshold,
            Comparison.AT_MOST: value <= threshold,
            Comparison.ABOVE: value > threshold,
            Comparison.AT_LEAST: value >= threshold,
        }[self]


class Stage(Enum):
    """Result of a diagnosis, in one scale for all criteria; the criteria's own word is ``StageRule.label``."""

    NONE = "none"
    POSSIBLE = "possible"
    SARCOPENIA = "sarcopenia"
    SEVERE = "severe"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """One cut-off.

    Attributes:
        domain, measure, low_if: what is compared, and how.
        men, women: thresholds in the unit of ``measure``.
        method: only for mass measured so; ``None`` for any.
        age_years: only for ages from the first (included) to the second (excluded); ``None`` for any.
        fallback: used only where no other measure of the domain is known.
    """

    domain: Domain
    measure: Measure
    low_if: Comparison
    men: float
    women: float
    method: MassMethod | None = None
    age_years: tuple[float, float] | None = None
    fallback: bool = False

    def threshold(self, sex: Sex) -> float:
        """Return the threshold of one sex."""
        return self.men if sex is Sex.MAN else self.women


@dataclass(frozen=True, slots=True)
class StageRule:
    """A stage is reached when all domains of ``all_of`` and at least one of ``any_of`` (where given) are low."""

    stage: Stage
    label: str
    all_of: tuple[Domain, ...]
    any_of: tuple[Domain, ...]


@dataclass(frozen=True, slots=True)
class Criteria:
    """A set of cut-offs and the stages built on them; ``rules`` run from the mildest to the most severe.

    ``note`` is shown wherever the criteria are used: what a reader has to know of their numbers.
    """

    key: str
    name: str
    source: str
    cutoffs: tuple[Cutoff, ...]
    rules: tuple[StageRule, ...]
    note: str = ""

    def label(self, stage: Stage) -> str:
        """Return the word of the criteria for a stage."""
        named = {rule.stage: rule.label for rule in self.rules}
        return named.get(stage, {Stage.NONE: "no sarcopenia"}.get(stage, stage.value))


_SEVERITY = (Stage.NONE, Stage.POSSIBLE, Stage.SARCOPENIA, Stage.SEVERE)


def criteria_names() -> list[str]:
    """List the names of the criteria that come with Vastus."""
    folder = files("vastus.sarcopenia").joinpath("criteria")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_criteria(name_or_path: str | Path) -> Criteria:
    """Load criteria by name (``awgs_2019``, ``awgs_2025``, ``ewgsop2``, ``fnih``, ``kim_2024``) or from a TOML file.

    Raises:
        SettingsError: unknown name, or a malformed file.
        MissingInputError: no such file.
    """
    if isinstance(name_or_path, str) and not name_or_path.endswith(".toml"):
        known = criteria_names()
        if name_or_path not in known:
            raise SettingsError(
                f"There are no criteria called {name_or_path!r}.",
                remedy=f"Known: {', '.join(known)}; or give the path of a .toml file.",
            )
        resource = files("vastus.sarcopenia").joinpath("criteria", f"{name_or_path}.toml")
        return parse_criteria(resource.read_text(encoding="utf-8"), origin=f"{name_or_path}.toml")
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError("The criteria file does not exist.", path=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("The criteria file can't be read as UTF-8 text.", path=path) from error
    return parse_criteria(text, origin=str(path))


def parse_criteria(text: str, *, origin: str) -> Criteria:
    """Read criteria from TOML text; ``origin`` is named in errors.

    Raises:
        SettingsError: malformed or incomplete.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The criteria are not valid TOML ({error}).", path=origin) from error
    _refuse_unknown(table, {"key", "name", "source", "note", "cutoffs", "stages"}, origin)
    try:
        cutoffs = tuple(_cutoff(row, origin) for row in table["cutoffs"])
        rules = tuple(_rule(row, origin) for row in table["stages"])
        named = (str(table["key"]), str(table["name"]), str(table["source"]))
        criteria = Criteria(*named, cutoffs, rules, str(table.get("note", "")))
    except KeyError as error:
        raise SettingsError(f"The criteria lack {error.args[0]!r}.", path=origin) from error
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The criteria hold a value that does not fit ({error}).", path=origin) from error
    _check(criteria, origin)
    return criteria


def _refuse_unknown(table: dict[str, Any], known: set[str], origin: str) -> None:
    odd = sorted(set(table) - known)
    if odd:
        raise SettingsError(f"The criteria hold unknown names: {', '.join(odd)}.", path=origin)


def _cutoff(row: dict[str, Any], origin: str) -> Cutoff:
    known = {"domain", "measure", "low_if", "men", "women", "method", "age_years", "fallback"}
    _refuse_unknown(row, known, origin)
    age = row.get("age_years")
    if age is not None:
        low, high = age
        age = (float(low), float(high))
    return Cutoff(
        domain=Domain(row["domain"]),
        measure=Measure(row["measure"]),
        low_if=Comparison(row["low_if"]),
        men=float(row["men"]),
        women=float(row["women"]),
        method=MassMethod(row["method"]) if "method" in row else None,
        age_years=age,
        fallback=bool(row.get("fallback", False)),
    )


def _rule(row: dict[str, Any], origin: str) -> StageRule:
    _refuse_unknown(row, {"stage", "label", "all_of", "any_of"}, origin)
    return StageRule(
        stage=Stage(row["stage"]),
        label=str(row["label"]),
        all_of=tuple(Domain(d) for d in row.get("all_of", ())),
        any_of=tuple(Domain(d) for d in row.get("any_of", ())),
    )


def _check(criteria: Criteria, origin: str) -> None:
    """Check that stages rise and ask for something, and that every domain they ask for has a cut-off."""
    ranks = [_SEVERITY.index(rule.stage) if rule.stage in _SEVERITY[1:] else -1 for rule in criteria.rules]
    if not ranks or -1 in ranks or ranks != sorted(set(ranks)):
        raise SettingsError("Stages must be possible, sarcopenia, severe, in this order, each once.", path=origin)
    measured = {cutoff.domain for cutoff in criteria.cutoffs}
    for rule in criteria.rules:
        asked = {*rule.all_of, *rule.any_of}
        if not asked:
            raise SettingsError(f"Stage {rule.stage.value!r} asks for nothing.", path=origin)
        without = sorted(domain.value for domain in asked - measured)
        if without:
            raise SettingsError(f"No cut-off for: {', '.join(without)}.", path=origin)
