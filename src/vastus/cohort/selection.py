"""Who is analysed: inclusion and exclusion rules from a TOML file, and the flow with counts that add up."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, BY_KEY, StructureTable
from vastus.errors import MissingInputError, SettingsError

if TYPE_CHECKING:
    import pandas as pd


class Action(Enum):
    """Whether who fits a rule is kept or dropped."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


class Test(Enum):
    """How a rule compares; the value is the name in the TOML file."""

    ABOVE = "above"
    AT_LEAST = "at_least"
    BELOW = "below"
    AT_MOST = "at_most"
    ANY_OF = "any_of"
    COVERAGE = "coverage"

    __test__ = False  # not a test case, whatever its name


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: as the flow diagram prints it.
        action: on who fits.
        test: how ``column`` is compared.
        column: standard or own column; empty for coverage.
        limit: a number for the comparisons.
        words: for ``any_of`` the words (lower case), for coverage the structure keys.
        keep_missing: whether who has no value stays.
    """

    name: str
    action: Action
    test: Test
    column: str
    limit: float
    words: tuple[str, ...]
    keep_missing: bool


@dataclass(frozen=True, slots=True)
class FlowStep:
    """One box of the flow diagram: ``before`` = ``removed`` + ``after``; ``excludes``: the name says who leaves."""

    name: str
    before: int
    removed: int
    after: int
    note: str = ""
    excludes: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Result of ``select``.

    Attributes:
        kept: ids of the people left, in their order.
        removed: id -> name of the rule that dropped it.
        steps: one a rule, in order.
        not_applied: names of rules whose column, or structure, the tables do not have.
    """

    kept: tuple[str, ...]
    removed: dict[str, str]
    steps: tuple[FlowStep, ...]
    not_applied: tuple[str, ...]


def load_rules(path: Path | None = None, structures: StructureTable = BUILT_IN) -> tuple[Rule, ...]:
    """Read rules; without a path, the rules of the paper that come with Vastus.

    Args:
        path: of a TOML file.
        structures: that a rule may name besides the built-in ones.

    Raises:
        MissingInputError: no such file.
        SettingsError: malformed.
    """
    if path is None:
        text = files("vastus.cohort").joinpath("data", "default_rules.toml").read_text(encoding="utf-8")
        return parse_rules(text, origin="default_rules.toml")
    try:
        return parse_rules(path.read_text(encoding="utf-8-sig"), origin=str(path), structures=structures)
    except FileNotFoundError as error:
        raise MissingInputError("The rules file does not exist.", path=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("The rules can't be read as UTF-8 text.", path=path) from error


def parse_rules(text: str, *, origin: str, structures: StructureTable = BUILT_IN) -> tuple[Rule, ...]:
    """Read rules from TOML text, in the order of the file; ``origin`` is named in errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The rules are not valid TOML ({error}).", path=origin) from error
    odd = sorted(set(table) - {"rule"})
    if odd or not isinstance(table.get("rule", []), list):
        raise SettingsError(f"The rules hold unknown names: {', '.join(odd)}.", path=origin, remedy="Write [[rule]].")
    rules = tuple(_rule(row, origin, structures) for row in table.get("rule", []))
    if len({rule.name for rule in rules}) < len(rules):
        raise SettingsError("Two rules have the same name.", path=origin)
    return rules


def select(
    people: pd.DataFrame,
    truncated: pd.DataFrame,
    absent: pd.DataFrame,
    rules: Sequence[Rule],
    *,
    listed: Collection[str] | None = None,
) -> Selection:
    """Apply rules one after the other.

    Args:
        people: one row a person, index the id, columns as in the clinical table.
        truncated: same index, columns (structure, side): cut off by the field of view.
        absent: same shape: not found in the scan.
        rules: in order.
        listed: structures that the table of volumes speaks of at all; ``None``: all. A rule about coverage that needs
            another one is not applied: its absence says nothing about the scans.
    """
    left = people.index
    steps: list[FlowStep] = []
    removed: dict[str, str] = {}
    not_applied = []
    for rule in rules:
        if _lacks_data(rule, people, listed):
            not_applied.append(rule.name)
            continue
        fits, missing = _fits(rule, people.loc[left], truncated.loc[left], absent.loc[left])
        keep = fits if rule.action is Action.INCLUDE else ~fits
        keep = keep.where(~missing, rule.keep_missing).astype(bool)
        unknown = int((missing & ~keep).sum())
        note = f"{unknown} of them: not known" if unknown else ""
        steps.append(
            FlowStep(rule.name, len(left), int((~keep).sum()), int(keep.sum()), note, rule.action is Action.EXCLUDE)
        )
        removed.update(dict.fromkeys(left[~keep], rule.name))
        left = left[keep]
    return Selection(tuple(left), removed, tuple(steps), tuple(not_applied))


def _lacks_data(rule: Rule, people: pd.DataFrame, listed: Collection[str] | None) -> bool:
    if rule.test is Test.COVERAGE:
        return listed is not None and not set(rule.words) <= set(listed)
    return rule.column not in people or bool(people[rule.column].isna().all())


def flow_table(steps: Sequence[FlowStep]) -> pd.DataFrame:
    """Make a table with one row for each step: step, before, removed, after, note."""
    import pandas as pd

    rows = [(s.name, s.before, s.removed, s.after, s.note) for s in steps]
    return pd.DataFrame(rows, columns=["step", "before", "removed", "after", "note"])


def _fits(
    rule: Rule, people: pd.DataFrame, truncated: pd.DataFrame, absent: pd.DataFrame
) -> tuple[pd.Series, pd.Series]:
    """Tell whether each person fits, and whether the value is unknown."""
    import pandas as pd

    if rule.test is Test.COVERAGE:
        whole = ~(truncated[list(rule.words)] | absent[list(rule.words)]).any(axis=1)
        return whole, pd.Series(False, index=whole.index)
    values = people[rule.column]
    if rule.test is Test.ANY_OF:
        return values.astype("string").str.casefold().isin(rule.words).astype(bool), values.isna()
    numbers = pd.to_numeric(values.astype("string").str.replace(",", "."), errors="coerce").astype(float)
    compare = {
        Test.ABOVE: numbers > rule.limit,
        Test.AT_LEAST: numbers >= rule.limit,
        Test.BELOW: numbers < rule.limit,
        Test.AT_MOST: numbers <= rule.limit,
    }
    return compare[rule.test], numbers.isna()


def _rule(row: dict[str, Any], origin: str, structures: StructureTable) -> Rule:
    tests = [test for test in Test if test.value in row]
    odd = sorted(set(row) - {"name", "action", "column", "if_missing"} - {test.value for test in Test})
    name = str(row.get("name", ""))
    if not name or odd or len(tests) != 1:
        raise SettingsError(
            f"The rule {name!r} needs a name and exactly one of {', '.join(t.value for t in Test)}"
            + (f"; unknown: {', '.join(odd)}." if odd else "."),
            path=origin,
        )
    if row.get("action") not in [a.value for a in Action]:
        raise SettingsError(f'The rule {name!r} needs action = "include" or "exclude".', path=origin)
    action = Action(row["action"])
    test = tests[0]
    value = row[test.value]
    words: tuple[str, ...] = ()
    limit = float("nan")
    if test in (Test.ANY_OF, Test.COVERAGE):
        if not isinstance(value, list):
            raise SettingsError(f"The rule {name!r} needs a list for {test.value}.", path=origin)
        words = tuple(str(word).casefold() for word in value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        limit = float(value)
    else:
        raise SettingsError(f"The rule {name!r} needs a number for {test.value}.", path=origin)
    if (test is Test.COVERAGE) == ("column" in row):
        raise SettingsError(f"The rule {name!r} needs a column, or coverage.", path=origin)
    unknown = [word for word in words if test is Test.COVERAGE and word not in BY_KEY and word not in structures.by_key]
    if unknown:
        raise SettingsError(f"The rule {name!r} names unknown structures: {', '.join(unknown)}.", path=origin)
    missing = row.get("if_missing", "drop" if action is Action.INCLUDE else "keep")
    if missing not in ("keep", "drop"):
        raise SettingsError(f'The rule {name!r}: if_missing is "keep" or "drop".', path=origin)
    return Rule(name, action, test, str(row.get("column", "")), limit, words, missing == "keep")
