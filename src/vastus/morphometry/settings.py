"""Everything in the measurements that is a choice, with its source."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vastus.errors import MissingInputError, SettingsError

HuRange = tuple[float, float]


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """Thresholds and levels. HU ranges include both ends; a HU is rounded to a whole number first.

    Attributes:
        lean_hu: muscle tissue, Aubrey et al. 2014 (Acta Physiol 210:489, doi 10.1111/apha.12224).
        low_attenuation_hu: muscle that holds lipid, a part of ``lean_hu``; published ranges differ.
        fat_hu: adipose tissue, Aubrey et al. 2014.
        percentiles: of HU.
        levels_percent: levels along the femur, 0 at its lower end, 100 at its upper; 50 is the mid-thigh.
        slab_mm: an area is the volume in a slab of this thickness, perpendicular to the femur, divided by it.
        thigh_bottom_percent: where the thigh starts for intermuscular and subcutaneous fat (above the condyles);
            it ends at the ischial tuberosity.
        fascia_closing_mm: radius of the closing that turns muscles and bone into the space inside the fascia.
    """

    lean_hu: HuRange = (-29.0, 150.0)
    low_attenuation_hu: HuRange = (0.0, 29.0)
    fat_hu: HuRange = (-190.0, -30.0)
    percentiles: tuple[float, ...] = (5.0, 25.0, 50.0, 75.0, 95.0)
    levels_percent: tuple[float, ...] = (30.0, 70.0)
    slab_mm: float = 5.0
    thigh_bottom_percent: float = 15.0
    fascia_closing_mm: float = 15.0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing can be measured."""
        for name in ("lean_hu", "low_attenuation_hu", "fat_hu"):
            low, high = getattr(self, name)
            if not -1024 < low <= high < 3071:
                raise SettingsError(f"{name} must rise and lie between -1023 and 3070 HU.")
        if any(not 0 <= p <= 100 for p in (*self.percentiles, *self.levels_percent, self.thigh_bottom_percent)):
            raise SettingsError("percentiles, levels_percent and thigh_bottom_percent must lie in 0..100.")
        if not (self.slab_mm > 0 and self.fascia_closing_mm > 0):
            raise SettingsError("slab_mm and fascia_closing_mm must be positive.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def load_measure_settings(path: Path) -> MeasureSettings:
    """Load settings from a TOML file; settings that the file does not name keep their default.

    Raises:
        MissingInputError: no such file.
        SettingsError: not TOML, an unknown name, or a value that does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingInputError("There is no such settings file.", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"The settings are not valid TOML ({error}).", path=path) from error
    names = {field.name for field in dataclasses.fields(MeasureSettings)}
    odd = sorted(set(table) - names)
    if odd:
        raise SettingsError(
            f"Unknown settings: {', '.join(odd)}.", path=path, remedy=f"Known: {', '.join(sorted(names))}."
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        return MeasureSettings(**values)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"A setting has a value that does not fit ({error}).", path=path) from error
