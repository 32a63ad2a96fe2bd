"""``vastus measure``: volumes, density, areas, fat and indices of one labelled scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vastus.anatomy import Side

if TYPE_CHECKING:
    from vastus.morphometry import MeasureSettings, ScanMeasures, StructureMeasures
    from vastus.sarcopenia import Diagnosis


def measure(
    ct: Annotated[Path, typer.Argument(help="CT scan: NIfTI, NRRD, MetaImage, or a DICOM folder or zip.")],
    labels: Annotated[Path, typer.Argument(help="Label map of the scan, on the same grid.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tables.")],
    subject: Annotated[str | None, typer.Option(help="Name in the tables; default: the file name of the scan.")] = None,
    series: Annotated[str | None, typer.Option(help="DICOM series to read, if there are several.")] = None,
    structures: Annotated[
        Path | None,
        typer.Option("--structures", help="Table of structures of your own (CSV); default: the one beside the labels."),
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file with HU thresholds and levels.")] = None,
    criteria: Annotated[
        str, typer.Option(help="awgs_2019, awgs_2025, ewgsop2, fnih, kim_2024, or a TOML file of your own.")
    ] = "awgs_2019",
    sex: Annotated[str | None, typer.Option(help="Sex, M or F.")] = None,
    age: Annotated[float | None, typer.Option(help="Age in years.")] = None,
    height_cm: Annotated[float | None, typer.Option(help="Height in centimetres.")] = None,
    weight_kg: Annotated[float | None, typer.Option(help="Weight in kilograms.")] = None,
    smi_kg_m2: Annotated[
        float | None, typer.Option(help="Appendicular muscle mass / height squared, in kg/m2.")
    ] = None,
    asm_kg: Annotated[float | None, typer.Option(help="Appendicular muscle mass in kilograms.")] = None,
    mass_method: Annotated[str | None, typer.Option(help="Method that measured the mass: dxa or bia.")] = None,
    grip_kg: Annotated[float | None, typer.Option(help="Grip strength in kilograms.")] = None,
    gait_m_s: Annotated[float | None, typer.Option(help="Gait speed in m/s.")] = None,
    chair_stand_s: Annotated[float | None, typer.Option(help="Time for five chair stands, in seconds.")] = None,
    sppb: Annotated[float | None, typer.Option(help="Short Physical Performance Battery, 0 to 12.")] = None,
    tug_s: Annotated[float | None, typer.Option(help="Timed up and go, in seconds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measure a labelled scan. With clinical values, also compute indices and a diagnosis by published criteria."""
    if not as_json:
        typer.echo("vastus measure: loading", err=True)
    import json
    from functools import partial

    from vastus.garbage import search_rarely
    from vastus.io.atomic import ensure_folder, write_text
    from vastus.io.labels import placed_on, read_label_map
    from vastus.io.prefetch import Prefetch
    from vastus.io.scans import read_scan
    from vastus.io.structure_tables import read_structure_table
    from vastus.io.tables import MEASURES_RECORD_FILE
    from vastus.light_imports import load_ndimage

    search_rarely()
    own = None if structures is None else read_structure_table(structures)
    # Both files are read at once, and while the libraries are loaded.
    reading_scan = Prefetch(partial(read_scan, ct, series=series))
    reading_labels = Prefetch(partial(read_label_map, labels, table=own))
    load_ndimage()
    from vastus.measuring import MeasureRequest, measure_to_folder
    from vastus.morphometry import MeasureSettings, load_measure_settings, wrong_density
    from vastus.sarcopenia import ClinicalFacts, Sex, diagnose, load_criteria

    # All options are checked before anything is said of the scan.
    chosen = load_criteria(criteria)
    facts = ClinicalFacts(
        sex=Sex.from_word(sex),
        age_years=age,
        height_cm=height_cm,
        weight_kg=weight_kg,
        smi_kg_m2=smi_kg_m2,
        asm_kg=asm_kg,
        mass_method=_mass_method(mass_method),
        grip_kg=grip_kg,
        gait_m_s=gait_m_s,
        chair_stand_s=chair_stand_s,
        sppb=sppb,
        tug_s=tug_s,
    )
    thresholds = MeasureSettings() if settings is None else load_measure_settings(settings)
    scan, read = reading_scan.result(), reading_labels.result()
    label_map = placed_on(read.volume, labels, scan.volume, ct)
    for warning in (*scan.source.warnings, *(f"{labels.name}: {warning}" for warning in read.warnings)):
        typer.echo(f"vastus: {warning}", err=True)
    ensure_folder(output)
    measured = measure_to_folder(
        MeasureRequest(
            scan.volume,
            label_map,
            subject or scan.source.subject,
            output,
            settings=thresholds,
            facts=facts,
            indices=True,
            table=read.table,
        )
    )
    found, context = measured.found, measured.context
    diagnosis = None if facts == ClinicalFacts() else diagnose(facts, chosen)
    summary = _summary(found, thresholds, diagnosis, chosen.note) | {"context": list(context)}
    write_text(output / MEASURES_RECORD_FILE, json.dumps(summary, indent=2) + "\n")
    for warning in (*wrong_density(found.structures), *measured.warnings):
        typer.echo(f"vastus: {warning}", err=True)
    typer.echo(json.dumps(summary, indent=2) if as_json else _text(found, diagnosis, chosen.note, context, output))


def _mass_method(given: str | None) -> Any:
    from vastus.errors import SettingsError
    from vastus.sarcopenia import MassMethod

    if given is not None and given.lower() not in {method.value for method in MassMethod}:
        raise SettingsError("--mass-method is dxa or bia.")
    return None if given is None else MassMethod(given.lower())


def _summary(found: ScanMeasures, settings: MeasureSettings, diagnosis: Diagnosis | None, note: str) -> dict[str, Any]:
    from vastus.version import __version__

    record: dict[str, Any] = {
        "subject": found.subject,
        "vastus": __version__,
        "settings": settings.to_dict(),
        "femora": [
            {
                "side": leg.side.value,
                "length_mm": leg.length_mm,
                "tilt_degrees": leg.tilt_degrees,
                "truncated": leg.truncation.any,
                "levels": [
                    {
                        "name": level.name,
                        "position_mm": level.position_mm,
                        "percent": level.percent,
                        "point_mm": list(level.point_mm),
                        "method": level.method,
                    }
                    for level in leg.levels
                ],
            }
            for leg in found.legs
        ],
        "posterior_to_anterior": {ratio.side.value: ratio.posterior_to_anterior for ratio in found.ratios},
        "truncated": [_name(s) for s in found.structures if s.truncated],
        "fragments": [_name(s) for s in found.structures if s.fragment],
        "absent": [_name(s) for s in found.structures if s.volume_mm3 is None],
    }
    if diagnosis is not None:
        record["diagnosis"] = {
            "criteria": diagnosis.criteria,
            "stage": diagnosis.stage.value,
            "at_most": diagnosis.at_most.value,
            "label": diagnosis.label,
            "has_sarcopenia": diagnosis.has_sarcopenia,
            "reason": diagnosis.reason,
            "domains": {domain.value: finding.value for domain, finding in diagnosis.domains.items()},
            "missing": [measure.value for measure in diagnosis.missing],
            "note": note,
        }
    return record


def _name(measured: StructureMeasures) -> str:
    midline = measured.side is Side.MIDLINE
    return measured.structure.key if midline else f"{measured.structure.key}_{measured.side.value}"


def _text(found: ScanMeasures, diagnosis: Diagnosis | None, note: str, context: tuple[str, ...], output: Path) -> str:
    present = sum(s.volume_mm3 is not None and not s.fragment for s in found.structures)
    cut = sum(s.truncated for s in found.structures)
    every = len(found.table.whole_labels)
    lines = [f"{found.subject}: {present} of {every} structures measured, {cut} cut by the edge of the scan."]
    if fragments := sum(s.fragment for s in found.structures):
        lines.append(f"Fragments, counted nowhere: {fragments}.")
    for leg in found.legs:
        length = "cut by the scan" if leg.length_mm is None else f"{leg.length_mm:.0f} mm"
        lines.append(f"Femur {leg.side.value}: {length}.")
    if diagnosis is not None:
        lines.append(diagnosis.reason)
        if note:
            lines.append(note)
    lines.extend(context)
    lines.append(f"Tables: {output}")
    return "\n".join(lines)
