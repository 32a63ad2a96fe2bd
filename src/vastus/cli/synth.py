"""``vastus atlas`` and ``vastus synth``: labelled CT from meshes of real anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.errors import MissingInputError, SettingsError

if TYPE_CHECKING:
    from vastus.synthesis.atlas import Atlas


def atlas(
    meshes: Annotated[
        Path, typer.Argument(help="Folder with meshes/<person>/<side>/<structure>.ply and manifest.json.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the atlas files.")],
    between: Annotated[
        str, typer.Option(help="Also add people between the two: shares of the way from each of them (0.25,0.75).")
    ] = "",
) -> None:
    """Build the atlas of both people from their meshes. This is needed once and takes about a minute for each."""
    typer.echo("vastus atlas: loading", err=True)
    from vastus.io.atomic import ensure_folder
    from vastus.synthesis.atlas import PersonName
    from vastus.synthesis.atlas_building import build_atlas

    shares = _shares(between)
    ensure_folder(output)
    people = []
    for person in PersonName:
        people.append(build_atlas(meshes, person))
        _save(people[-1], output / f"atlas_{person.value}.npz")
    if shares:
        _people_between(people[0], people[1], shares, output)
        _people_between(people[1], people[0], shares, output)


def _people_between(person: Atlas, other: Atlas, shares: list[float], output: Path) -> None:
    from dataclasses import replace

    from vastus.synthesis.between import person_between
    from vastus.synthesis.correspondence import find_correspondence

    match = find_correspondence(person, other)
    before, after = match.miss_mm
    typer.echo(
        f"{person.person.value} to {other.person.value}: surfaces {before:.1f} mm apart, {after:.1f} mm once matched"
    )
    for share in shares:
        made = person_between(person, other, match, share)
        made = replace(made, made_from=(person.person.value, other.person.value))
        _save(made, output / f"atlas_{person.person.value}_{round(100 * share):02d}.npz")


def _save(made: Atlas, path: Path) -> None:
    from vastus.synthesis.atlas import save_atlas

    save_atlas(made, path)
    typer.echo(f"{path}: {len(made.parts)} structures")


def _shares(text: str) -> list[float]:
    try:
        shares = [float(v) for v in text.split(",") if v.strip()]
    except ValueError as error:
        raise SettingsError(
            f"--between takes numbers with commas, not {text!r}.", remedy="For example 0.25,0.75."
        ) from error
    if not all(0.01 <= share <= 0.99 for share in shares):
        raise SettingsError("The shares of --between lie between 0.01 and 0.99.")
    return shares


def synth(
    atlas_folder: Annotated[Path, typer.Option("--atlas", help="Folder made by `vastus atlas`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set, or of the pool.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of scans, or of bodies in the pool.")] = 20,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the first scan; the next scans get the next numbers.")
    ] = 0,
    spacing: Annotated[
        str | None, typer.Option("--spacing", help="Voxel size in mm, e.g. 0.8,0.8,1; default: random for each scan.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Allow shapes beyond the clinical model, for training.")] = False,
    pool: Annotated[
        bool, typer.Option("--pool", help="Write bodies for `vastus train --synthetic` instead of scans.")
    ] = False,
    person: Annotated[
        list[str] | None,
        typer.Option("--person", help="Use these people only: vhf, vhm, one between them (vhf_25); repeatable."),
    ] = None,
) -> None:
    """Write labelled synthetic CT scans in nnU-Net layout with clinical.csv, or a pool of bodies for training."""
    typer.echo("vastus synth: loading", err=True)
    from vastus.synthesis.subject import Variety

    atlases = load_people(atlas_folder, person or ())
    variety = Variety.WIDE if wide or pool else Variety.CLINICAL
    if pool:
        from vastus.synthesis.store import fill_pool

        made = fill_pool(output, atlases, count, first_seed=seed, variety=variety)
        typer.echo(f"{output}: {made} bodies made, {count - made} existed already")
        return
    from vastus.synthesis.dataset import DatasetOptions, write_dataset
    from vastus.synthesis.scan import ScanSpec

    spec = ScanSpec(_spacing(spacing)) if spacing else None
    write_dataset(output, atlases, DatasetOptions(count, seed, variety, spec), typer.echo)


def _spacing(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(v) for v in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--spacing takes three numbers, not {text!r}.", remedy="For example 0.8,0.8,1.") from error
    return x, y, z


def load_people(folder: Path, patterns: Sequence[str] = ()) -> list[Atlas]:
    """Load all atlases of a folder, or those whose name fits a pattern (``vhf``, ``vh?_50``), sorted by name.

    Raises:
        MissingInputError: nobody fits one of the patterns.
    """
    from vastus.synthesis.atlas import load_atlas

    return [load_atlas(path) for path in people_files(folder, patterns)]


def people_files(folder: Path, patterns: Sequence[str] = ()) -> list[Path]:
    """The files that ``load_people`` reads."""
    found: set[Path] = set()
    for pattern in patterns or ("*",):
        paths = set(folder.glob(f"atlas_{pattern}.npz"))
        if not paths:
            whom = f"of {pattern!r} " if patterns else ""
            raise MissingInputError(
                f"No atlas file {whom}in this folder.", path=folder, remedy="Make the atlas files with `vastus atlas`."
            )
        found |= paths
    return sorted(found)
