"""``vastus mix-people``: people of an atlas, mixed to new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.errors import MissingInputError, SettingsError

if TYPE_CHECKING:
    from vastus.synthesis.atlas import Atlas
    from vastus.synthesis.correspondence import Correspondence

_MOST_OTHERS = 3
"""A person is mixed of one and at most so many others: of more, only the mean would be left."""
MADE = "mix"


def mix_people(
    atlas_folder: Annotated[Path, typer.Option("--atlas", help="Folder of people; the mixed ones are added.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of people.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first; the next get the next numbers.")] = 0,
    person: Annotated[
        list[str] | None, typer.Option("--person", help="Whom to mix (repeatable); default: vhf and vhm.")
    ] = None,
) -> None:
    """Add people mixed from two to four others: each muscle has shares of its own, and they may lie beyond all."""
    typer.echo("vastus mix-people: loading", err=True)
    from dataclasses import replace

    import numpy as np

    from vastus.cli.synth import load_people
    from vastus.synthesis.atlas import save_atlas
    from vastus.synthesis.correspondence import find_correspondence
    from vastus.synthesis.mixing import mixed_person, sample_mix

    people: dict[str, Atlas] = {}
    for pattern in person or ["vh[fm]"]:
        paths = sorted(atlas_folder.glob(f"atlas_{pattern}.npz"))
        if not paths:
            raise MissingInputError(f"The atlas has no person {pattern!r}.", path=atlas_folder)
        names = [path.stem.removeprefix("atlas_") for path in paths]
        people |= dict(zip(names, load_people(atlas_folder, [pattern]), strict=True))
    if len(people) < 2:
        raise SettingsError("Mixing needs at least two people.", remedy="Name them with --person.")
    known: dict[tuple[str, str], Correspondence] = {}
    for number in range(seed, seed + count):
        path = atlas_folder / f"atlas_{MADE}_{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([number, 21])
        first, *others = (str(name) for name in rng.permutation(sorted(people))[: _MOST_OTHERS + 1])
        mix = sample_mix(rng, len(others))
        for other in others:
            if (other, first) not in known:
                known[other, first] = find_correspondence(people[other], people[first])
        mixed = mixed_person(people[first], [known[other, first] for other in others], mix)
        of_whom = {name for whose in (first, *others) for name in people[whose].made_from}
        save_atlas(replace(mixed, made_from=tuple(sorted(of_whom))), path)
        told = ", ".join(f"{share:.2f} {other}" for share, other in zip(mix.shares, others, strict=True))
        typer.echo(f"{path}: {1 - sum(mix.shares):.2f} {first}, {told}")
