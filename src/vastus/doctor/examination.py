"""Everything looked at, as one report: for people as text, for programs as JSON values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from vastus.doctor.findings import Finding, State, works
from vastus.doctor.machine import Machine, findings_of, look_at_machine
from vastus.doctor.packages import look_at_packages
from vastus.doctor.parts import look_at_printer, look_at_weights
from vastus.doctor.trial import Speed, try_out
from vastus.version import __version__

REPORT_VERSION: Final = 1
_SIGNS: Final = {State.OK: "ok", State.MISSING: "-", State.WARNING: "!", State.BROKEN: "BROKEN"}


@dataclass(frozen=True, slots=True)
class Examination:
    """The whole report.

    Attributes:
        machine: what it is.
        findings: in the order of the text.
        speed: None where the network could not be run, or was not asked to.
    """

    machine: Machine
    findings: tuple[Finding, ...]
    speed: Speed | None

    @property
    def works(self) -> bool:
        """Whether scans can be segmented."""
        return works(self.findings)


def examine(*, test: bool = True, threads: int | None = None) -> Examination:
    """Look at all.

    Args:
        test: run the self-test too.
        threads: of the network in it.
    """
    machine = look_at_machine()
    findings = (*findings_of(machine), *look_at_packages(), *look_at_weights(), look_at_printer())
    if not test or not works(findings):
        return Examination(machine, findings, None)
    tested, speed = try_out(threads)
    return Examination(machine, (*findings, tested), speed)


def as_text(seen: Examination) -> str:
    """Write the report for people."""
    lines = [f"Vastus {__version__} on {seen.machine.system}", ""]
    for finding in seen.findings:
        lines.append(f"{_SIGNS[finding.state]:>6}  {finding.name}: {finding.said}")
        if finding.remedy:
            lines.append(f"{'':>6}  -> {finding.remedy}")
    if seen.speed is not None:
        lines += ["", *_speed_lines(seen.speed)]
    verdict = "Scans can be segmented here." if seen.works else "Scans can't be segmented here: mend what is BROKEN."
    return "\n".join([*lines, "", verdict])


def _speed_lines(speed: Speed) -> list[str]:
    return [
        f"Network: {speed.device}",
        f"{speed.window_s:.2f} s a window; a scan of both thighs from hip to knee has about {speed.thigh_windows}:"
        f" {speed.thigh_s:.0f} s for the network. Reading, measuring and the page come on top.",
    ]


def as_dict(seen: Examination) -> dict[str, Any]:
    """Give the report as JSON values."""
    found = [{"name": f.name, "state": f.state.value, "said": f.said, "remedy": f.remedy} for f in seen.findings]
    machine = dataclasses.asdict(seen.machine) | {"features": dict(seen.machine.features)}
    speed = None if seen.speed is None else dataclasses.asdict(seen.speed) | {"thigh_s": seen.speed.thigh_s}
    return {
        "report_version": REPORT_VERSION,
        "vastus": __version__,
        "works": seen.works,
        "machine": machine,
        "findings": found,
        "speed": speed,
    }
