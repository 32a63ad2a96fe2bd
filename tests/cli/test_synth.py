"""``vastus atlas`` and ``vastus synth`` on the pack of ellipsoids, as a user calls them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synthesis.conftest import THICKER, write_person
from vastus.cli.main import app
from vastus.cli.synth import load_people
from vastus.synthesis.atlas import Atlas, PersonName, load_atlas

runner = CliRunner()


@pytest.fixture(scope="module")
def atlas_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack, folder = tmp_path_factory.mktemp("pack"), tmp_path_factory.mktemp("atlas")
    marks = {"vhf": write_person(pack, "vhf"), "vhm": write_person(pack, "vhm", THICKER)}
    (pack / "manifest.json").write_text(json.dumps({"landmarks": marks}))
    result = runner.invoke(app, ["atlas", str(pack), "-o", str(folder), "--between", "0.5"])
    assert result.exit_code == 0, result.output
    assert "once matched" in result.output
    return folder


def muscle_mm3(atlas: Atlas) -> float:
    return sum(p.volume_mm3 for p in atlas.parts if not p.procedural and 1 <= p.tissue <= 27)


@pytest.mark.slow
def test_people_between_are_made_from_either_person(atlas_folder):
    names = {"atlas_vhf.npz", "atlas_vhf_50.npz", "atlas_vhm.npz", "atlas_vhm_50.npz"}
    assert {path.name for path in atlas_folder.iterdir()} == names
    made = {name: load_atlas(atlas_folder / name) for name in names}
    thin, thick = muscle_mm3(made["atlas_vhf.npz"]), muscle_mm3(made["atlas_vhm.npz"])
    for name, person in (("atlas_vhf_50.npz", PersonName.FEMALE), ("atlas_vhm_50.npz", PersonName.MALE)):
        assert thin < muscle_mm3(made[name]) < thick
        assert made[name].person is person
        assert made[name].made_from == tuple(sorted({name[6:-4], "vhf", "vhm"}))
    assert made["atlas_vhf.npz"].made_from == ("vhf",)


@pytest.mark.slow
def test_one_person_of_the_folder_can_be_chosen(atlas_folder, tmp_path, monkeypatch):
    """``--person vhf`` must not draw from the people between: leave-one-person-out depends on it."""
    volumes = {path.stem: muscle_mm3(load_atlas(path)) for path in atlas_folder.iterdir()}
    assert len(set(volumes.values())) == 4  # tells them apart
    women = ["atlas_vhf", "atlas_vhf_50"]
    both = ["atlas_vhf", "atlas_vhm"]
    chosen = {(): sorted(volumes), ("vhf",): women[:1], ("vhf_50",): women[1:], ("vhf*",): women, ("vhm", "vhf"): both}
    grown_from: list[list[float]] = []
    # Bodies take long; what they would be made of is what matters here.
    monkeypatch.setattr(
        "vastus.synthesis.store.fill_pool",
        lambda _folder, atlases, count, **_: grown_from.append([muscle_mm3(a) for a in atlases]) or count,
    )
    for people, names in chosen.items():
        expected = [volumes[name] for name in names]
        assert [muscle_mm3(a) for a in load_people(atlas_folder, people)] == expected
        asked = [word for person in people for word in ("--person", person)]
        command = ["synth", "--atlas", str(atlas_folder), *asked, "--pool", "-n", "1", "-o", str(tmp_path / "pool")]
        result = runner.invoke(app, command)
        assert result.exit_code == 0, result.output
        assert grown_from.pop() == expected


@pytest.mark.parametrize("shares", ["a half", "0.5;0.7", "1.5", "0"])
def test_shares_that_are_none_are_refused_before_any_work(tmp_path, shares):
    result = runner.invoke(app, ["atlas", str(tmp_path), "-o", str(tmp_path / "atlas"), "--between", shares])
    assert result.exit_code != 0
    assert not (tmp_path / "atlas").exists()


def test_an_atlas_that_is_not_there_is_named(tmp_path):
    result = runner.invoke(app, ["synth", "--atlas", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "vastus atlas" in str(result.exception) + result.output
